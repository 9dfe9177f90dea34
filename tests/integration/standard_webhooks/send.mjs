// A sender as a partner would write it: it signs with the JavaScript library of the Standard
// Webhooks project, and posts with fetch. It reads deliveries from stdin,
// [{url, secret, id, payload, tampered}, ...], and writes the answers to stdout,
// [{status, answer}, ...].

import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

async function deliver({ url, secret, id, payload, tampered }) {
  const body = JSON.stringify(payload);
  const now = new Date();
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": Math.floor(now.getTime() / 1000).toString(),
      "webhook-signature": new Webhook(secret).sign(id, now, body),
    },
    body: tampered ? JSON.stringify({ ...payload, ...tampered }) : body,
  });
  return { status: response.status, answer: await response.json() };
}

const answers = [];
for (const delivery of JSON.parse(await text(process.stdin))) answers.push(await deliver(delivery));
console.log(JSON.stringify(answers));
