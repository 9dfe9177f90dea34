// Cancels one Bookings appointment without a person, from Node.js 20 or later: a signed webhook
// (Standard Webhooks). It needs no package, only cancelAppointment.mjs and command.mjs beside it.
//
//   API=https://contoso-bookings.azurewebsites.net/api WEBHOOK_SECRET=whsec_... \
//     node webhook-sender.mjs BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]
//
// WEBHOOK_ID names the delivery, to repeat an earlier one.
// Ends with 0: cancelled, 3: not found, 1: anything else, 2: called wrongly.
import { createHmac } from "node:crypto";
import { env } from "node:process";
import { post, settle } from "./cancelAppointment.mjs";
import { run } from "./command.mjs";

/** Sends one delivery. All its attempts have one `id`; each is signed anew, as a signature ages. */
export function sendWebhook({ api, request, secret, id, ...options }) {
  const body = JSON.stringify(request); // sign the bytes that are sent
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return settle(() => {
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = createHmac("sha256", key)
      .update(`${id}.${timestamp}.${body}`)
      .digest("base64");
    const headers = {
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${signature}`,
    };
    return post(`${api}/v1/webhooks/cancel-appointment`, headers, body);
  }, options);
}

await run(import.meta.url, ["API", "WEBHOOK_SECRET"], (request) => {
  const id = env.WEBHOOK_ID || `cancel-${crypto.randomUUID()}`;
  console.error(`webhook-id ${id}`);
  return sendWebhook({ api: env.API, request, secret: env.WEBHOOK_SECRET, id });
});
