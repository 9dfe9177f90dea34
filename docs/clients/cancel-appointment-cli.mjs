// Cancels one Bookings appointment from a terminal with Node.js 20 or later:
//
//   npm install @azure/msal-node
//   API=https://contoso-bookings.azurewebsites.net/api TENANT_ID=... CLIENT_ID=... \
//   SCOPE=api://<API client id>/Appointments.Cancel \
//     node cancel-appointment-cli.mjs BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]
//
// Set TOKEN to skip the sign-in, and AUTHORITY to replace
// https://login.microsoftonline.com/TENANT_ID. NODE_EXTRA_CA_CERTS names a PEM file to trust.
// IDEMPOTENCY_KEY repeats an earlier request.
// Ends with 0: cancelled, 3: not found, 1: anything else, 2: called wrongly.
import { env } from "node:process";
import { cancelAppointment } from "./cancelAppointment.mjs";
import { run } from "./command.mjs";
import { signIn } from "./signInNode.mjs";

const tenant = env.AUTHORITY ? "AUTHORITY" : "TENANT_ID";
const needed = env.TOKEN ? ["API"] : ["API", tenant, "CLIENT_ID", "SCOPE"];
await run(import.meta.url, needed, async (request) => {
  const authority = env.AUTHORITY || `https://login.microsoftonline.com/${env.TENANT_ID}`;
  const acquireToken = env.TOKEN
    ? async () => env.TOKEN
    : await signIn({ authority, clientId: env.CLIENT_ID, scopes: [env.SCOPE] });
  const key = env.IDEMPOTENCY_KEY || crypto.randomUUID();
  try {
    return await cancelAppointment({ api: env.API, request, acquireToken, key });
  } catch (error) {
    if (error.retryable) {
      console.error(`A repeat with IDEMPOTENCY_KEY=${key} is safe, and finds out how it ended.`);
    }
    throw error;
  }
});
