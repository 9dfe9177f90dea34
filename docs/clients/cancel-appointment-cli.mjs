// Cancels one Bookings appointment from a terminal with Node.js 20 or later:
//
//   API=https://contoso-bookings.azurewebsites.net/api TENANT_ID=... CLIENT_ID=... SCOPE=api://<API client id>/Appointments.Cancel \
//     node cancel-appointment-cli.mjs BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]
//
// Ends with 0: cancelled, 3: not found, 1: anything else. TOKEN takes the place of the sign-in; NODE_EXTRA_CA_CERTS names a PEM file to trust.
import { argv, env } from "node:process";
import { cancelAppointment } from "./cancelAppointment.mjs";
import { signIn } from "./signInNode.mjs";

const [businessId, appointmentId, cancellationMessage] = argv.slice(2);
const acquireToken = env.TOKEN
  ? async () => env.TOKEN
  : await signIn({ tenantId: env.TENANT_ID, clientId: env.CLIENT_ID, scopes: [env.SCOPE] });
try {
  const answer = await cancelAppointment({ api: env.API, request: { businessId, appointmentId, cancellationMessage }, acquireToken });
  console.log(answer.message);
  process.exitCode = answer.outcome === "cancelled" ? 0 : 3;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
