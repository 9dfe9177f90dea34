/*
 * Tools of the local stack, which no partner has: the mails that were sent, faults to switch on,
 * appointments to book, a webhook sender, the way back to the start. They talk to the simulators'
 * /_local addresses, which let in no page but this one.
 */

/* A claims challenge as Graph sends it: continuous access evaluation wants a second factor. */
const CHALLENGE = btoa(
  JSON.stringify({ access_token: { acrs: { essential: true, value: "c1" } } }),
);
const UNAUTHENTICATED = {
  step: "cancel",
  status: 401,
  headers: {
    "WWW-Authenticate": `Bearer realm="", error="insufficient_claims", claims="${CHALLENGE}"`,
  },
  body: {
    error: {
      code: "InvalidAuthenticationToken",
      message: "Continuous access evaluation resulted in challenge.",
    },
  },
};
const UNAVAILABLE = { error: { code: "ServiceUnavailable", message: "Service unavailable." } };

/** What can go wrong, and what is due then. `graph` and `entra` are faults for the simulators. */
export const FAULTS = [
  {
    id: "lost-answer",
    title: "The connection breaks after the cancel",
    due: "not found, unconfirmed",
    graph: [{ step: "cancel", when: "after", drop: true }],
  },
  {
    id: "error-after",
    title: "Graph answers 500 after the cancel",
    due: "not found, unconfirmed",
    graph: [
      {
        step: "cancel",
        when: "after",
        status: 500,
        body: { error: { code: "UnknownError", message: "" } },
      },
    ],
  },
  {
    id: "lost-twice",
    title: "It breaks before, then after the cancel",
    due: "cancelled, unconfirmed",
    graph: [
      { step: "cancel", when: "before", drop: true },
      { step: "cancel", when: "after", drop: true },
    ],
  },
  {
    id: "dark",
    title: "Graph goes dark after the cancel",
    due: "outcome unknown, at the deadline",
    graph: [
      { step: "cancel", when: "after", drop: true, times: null },
      { step: "get", status: 503, body: UNAVAILABLE, times: null },
    ],
  },
  {
    id: "throttled-briefly",
    title: "Graph throttles for a second",
    due: "cancelled, a second later",
    graph: [
      {
        step: "cancel",
        status: 429,
        headers: { "Retry-After": "1" },
        body: { error: { code: "TooManyRequests", message: "Too many requests." } },
      },
    ],
  },
  {
    id: "throttled",
    title: "Graph throttles for a minute",
    due: "throttled, with the wait",
    graph: [
      {
        step: "cancel",
        status: 429,
        headers: { "Retry-After": "60" },
        body: { error: { code: "TooManyRequests", message: "Too many requests." } },
      },
    ],
  },
  {
    id: "slow",
    title: "Graph takes three seconds",
    due: "cancelled, three seconds later",
    graph: [{ step: "cancel", delay_s: 3 }],
  },
  {
    id: "missing",
    title: "Graph says 404",
    due: "not found, confirmed",
    graph: [
      {
        step: "cancel",
        status: 404,
        body: {
          error: {
            code: "ErrorItemNotFound",
            message: "The specified object was not found in the store.",
          },
        },
      },
    ],
  },
  {
    id: "lead-time",
    title: "It is too near to be cancelled",
    due: "refused by Bookings",
    graph: [
      {
        step: "cancel",
        status: 400,
        body: { error: { code: "", message: "The minimum lead time does not allow this." } },
      },
    ],
  },
  {
    id: "mailbox",
    title: "The mailbox is not available",
    due: "upstream unavailable, after a look that sees it standing",
    graph: [
      {
        step: "cancel",
        status: 404,
        body: {
          error: { code: "MailboxNotEnabledForRESTAPI", message: "The mailbox is inactive." },
        },
        times: null,
      },
    ],
  },
  {
    id: "denied",
    title: "Graph says 403",
    due: "access denied",
    graph: [
      {
        step: "cancel",
        status: 403,
        body: { error: { code: "ErrorAccessDenied", message: "Access is denied." } },
      },
    ],
  },
  {
    id: "mfa",
    title: "A policy asks for a second factor",
    due: "interaction required",
    graph: [UNAUTHENTICATED],
  },
  {
    id: "entra-down",
    title: "Entra ID is down at the exchange",
    due: "upstream unavailable",
    graph: [UNAUTHENTICATED],
    entra: [
      {
        step: "token",
        status: 503,
        body: { error: "temporarily_unavailable", error_codes: [90033] },
        times: null,
      },
    ],
  },
];

/** Every mail that a cancel sent, the newest first. */
export async function readOutbox({ graph }) {
  return (await ask(`${graph}/_local/outbox`)).reverse();
}

/** How many faults the simulators still have to play. */
export async function countFaults({ graph, entra }) {
  const planned = await Promise.all([ask(`${graph}/_local/faults`), ask(`${entra}/_local/faults`)]);
  return planned.flat().length;
}

export async function switchOn(fault, { graph, entra }) {
  await send(`${graph}/_local/faults`, "POST", fault.graph);
  if (fault.entra) await send(`${entra}/_local/faults`, "POST", fault.entra);
}

export async function switchAllOff({ graph, entra }) {
  await Promise.all([
    send(`${graph}/_local/faults`, "DELETE"),
    send(`${entra}/_local/faults`, "DELETE"),
  ]);
}

/** Book an appointment of half an hour, with an id of its own; `start` is a Date. */
export async function book(
  { graph },
  businessId,
  { serviceName, customerName, customerEmail, start },
) {
  await send(`${graph}/_local/appointments`, "POST", {
    appointment_id: `AAMkAD${btoa(crypto.randomUUID().replaceAll("-", ""))}`,
    business_id: businessId,
    service_name: serviceName,
    customer_name: customerName,
    customer_email: customerEmail,
    start: start.toISOString(),
    end: new Date(start.getTime() + 30 * 60 * 1000).toISOString(),
  });
}

/*
 * Go back to the seeded state: calendars, mails, faults. `make run` restarts the service, too: it
 * would still know what it did.
 */
export async function resetAll({ graph, entra }) {
  await send(`${entra}/_local/reset`, "POST");
  await send(`${graph}/_local/reset`, "POST");
}

/** A webhook sender's request (Standard Webhooks), signed now: { path, method, headers, body }. */
export async function webhookRequest({ webhook }, body) {
  const id = `msg_${crypto.randomUUID()}`;
  const timestamp = String(Math.floor(Date.now() / 1000));
  const text = JSON.stringify(body);
  const secret = Uint8Array.from(atob(webhook.secret.replace("whsec_", "")), (character) =>
    character.charCodeAt(0),
  );
  const key = await crypto.subtle.importKey(
    "raw",
    secret,
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const signed = await crypto.subtle.sign(
    "HMAC",
    key,
    new TextEncoder().encode(`${id}.${timestamp}.${text}`),
  );
  const signature = btoa(String.fromCharCode(...new Uint8Array(signed)));
  return {
    path: "/api/v1/webhooks/cancel-appointment",
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${signature}`,
    },
    body: text,
  };
}

async function ask(address) {
  return (await send(address, "GET")).json();
}

async function send(address, method, body) {
  const options =
    body === undefined
      ? { method }
      : { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(address, options);
  if (!answer.ok)
    throw new Error(
      (await answer.json().catch(() => ({}))).error ??
        `${method} ${address} was answered ${answer.status}.`,
    );
  return answer;
}
