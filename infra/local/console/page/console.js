/*
 * The page: what the person sees and does. partner.js talks to the service, stack.js has the tools
 * of the local stack, parts.js has small pieces of the page.
 */

import {
  cancelRequest,
  completeSignIn,
  intendToCancel,
  listAppointments,
  listBusinesses,
  readCancel,
  send,
  signIn,
} from "./partner.js";
import {
  breakable,
  curlOf,
  during,
  localSpan,
  node,
  repeatLater,
  say,
  show,
  tabs,
  textOf,
} from "./parts.js";
import {
  FAULTS,
  book,
  countFaults,
  readOutbox,
  resetAll,
  switchAllOff,
  switchOn,
  webhookRequest,
} from "./stack.js";

const VERDICTS = {
  cancelled: { name: "Cancelled", tone: "good" },
  gone: { name: "Not found", tone: "warn" },
  unknown: { name: "Not known", tone: "warn" },
  failed: { name: "Failed", tone: "bad" },
};
const MORE = [
  ["Catered bento", "Isaiah Langer"],
  ["Wine tasting", "Pradeep Gupta"],
  ["Catered bento", "Diego Siciliani"],
];

const $ = (id) => document.getElementById(id);
const settings = await (await fetch("config.json", { cache: "no-store" })).json();
let person = null;
let chosen = null; // the appointment in the dialog: { businessId, appointmentId, title, attendees }
let sending = false; // while a cancel is on its way, the dialog stays
let sent = null; // what led to the answer on show: { intent, name, request }
let active = null; // the fault that is switched on

/* Signing in */

async function begin() {
  $("sign-in").addEventListener("click", () => signIn(settings.partner));
  $("sign-out").addEventListener("click", () => location.assign(location.pathname));
  try {
    person = await completeSignIn(settings.partner);
  } catch (error) {
    show($("sign-in-error"), `Signing in failed: ${error.message}`);
  }
  $("welcome").hidden = person !== null;
  $("desk").hidden = $("person").hidden = person === null;
  if (person === null) return;
  $("person-name").textContent = person.name;
  prepare();
  if (person.begunBy) {
    const begun = `${person.begunBy} began to cancel an appointment, and you signed in as`;
    show($("resume-notice"), `${begun} ${person.name}. Nothing was sent in your name.`);
  }
  await Promise.all([showBusinesses(), showOutbox(), showFaults()]);
  if (person.resume) await cancel(person.resume.intent, person.resume.name);
}

function prepare() {
  $("start").value = settings.range.start;
  $("end").value = settings.range.end;
  $("book-start").value = `${settings.range.start}T15:00`;
  $("search").addEventListener("submit", (event) => during(event, showAppointments));
  $("business").addEventListener("change", showAppointments);
  $("dialog-form").addEventListener("submit", (event) => during(event, confirmCancel));
  $("keep").addEventListener("click", () => sending || $("dialog").close());
  $("dialog").addEventListener("cancel", (event) => sending && event.preventDefault());
  // Some browsers close a dialog at a second Esc, whatever the page says.
  $("dialog").addEventListener("close", () => sending && $("dialog").showModal());
  $("again").addEventListener("click", (event) => during(event, repeat));
  $("step-up").addEventListener("click", stepUp);
  $("outbox-refresh").addEventListener("click", (event) => during(event, showOutbox));
  $("book").addEventListener("submit", (event) => during(event, bookAnother));
  $("book-more").addEventListener("click", (event) => during(event, bookMore));
  $("webhook").addEventListener("submit", (event) => during(event, sendWebhook));
  $("reset").addEventListener("click", (event) => during(event, reset));
  $("copy").addEventListener("click", (event) => during(event, copy));
  $("faults").replaceChildren(...FAULTS.map(faultRow));
  tabs(document.querySelector("[role=tablist]"));
}

/* Businesses and appointments */

async function showBusinesses() {
  const answer = await listBusinesses(settings.partner, person.accessToken);
  if (answer.kind !== "success") return showListing(answer);
  $("business").replaceChildren(
    ...answer.body.businesses.map(({ businessId, displayName }) =>
      node("option", { value: businessId }, displayName),
    ),
  );
  if (answer.body.businesses.length === 0) {
    return say($("listing"), "You are not on the staff of any business.");
  }
  await showAppointments();
}

async function showAppointments() {
  const businessId = $("business").value;
  if (!businessId) return;
  const start = new Date(`${$("start").value}T00:00`);
  const end = new Date(`${$("end").value}T00:00`);
  end.setDate(end.getDate() + 1); // the last day is shown whole
  const span = { start, end };
  const answer = await listAppointments(settings.partner, person.accessToken, businessId, span);
  if (answer.kind !== "success") return showListing(answer);
  const { appointments, complete } = answer.body;
  $("appointments").replaceChildren(
    ...appointments.map((appointment) => appointmentRow({ businessId, ...appointment })),
  );
  offerToWebhook(businessId, appointments);
  const count = appointments.length === 1 ? "1 appointment" : `${appointments.length} appointments`;
  const more = `The first ${count}; there are more. Choose a shorter time.`;
  say($("listing"), complete ? `${count} in this time.` : more);
}

function showListing(answer) {
  $("appointments").replaceChildren();
  const { title, code, detail } = answer.body ?? {};
  say($("listing"), code ? `${title} (${code}). ${detail}` : describe(answer));
}

function nameOf({ serviceName, customerName, title }) {
  return [serviceName, customerName].filter(Boolean).join(", ") || title;
}

function nameAndTime(appointment) {
  const { start, end } = appointment;
  const name = nameOf(appointment);
  return start && end ? `${name}, ${localSpan(start, end)}` : name;
}

function appointmentRow(appointment) {
  const { title, start, end, attendees } = appointment;
  const button = node("button", { type: "button", ariaLabel: `Cancel ${title}` }, "Cancel …");
  button.addEventListener("click", () => ask(appointment));
  const told = [node("strong", {}, nameOf(appointment))];
  if (start && end) {
    told.unshift(node("time", { className: "when", dateTime: start }, localSpan(start, end)));
  }
  if (attendees > 1) told.push(node("span", { className: "quiet" }, `A group of ${attendees}`));
  if (nameOf(appointment) !== title) told.push(node("span", { className: "quiet" }, title));
  return node("li", {}, node("div", {}, ...told), button);
}

/* Cancelling */

function ask(appointment) {
  chosen = appointment;
  const { attendees } = appointment;
  $("dialog-what").textContent = nameAndTime(appointment);
  $("dialog-group").hidden = !(attendees > 1);
  $("dialog-group").textContent =
    `This is a group of ${attendees}: it is cancelled for all of them.`;
  $("message").value = "";
  say($("dialog-status"), "");
  $("dialog").showModal();
  $("message").focus();
}

async function confirmCancel() {
  const intent = intendToCancel(chosen.businessId, chosen.appointmentId, $("message").value);
  lock(true);
  try {
    await cancel(intent, nameOf(chosen));
  } finally {
    lock(false);
    $("dialog").close();
  }
  $("answer-title").focus();
}

function lock(on) {
  sending = on;
  $("confirm").textContent = on ? "Sending …" : "Cancel appointment";
  $("keep").ariaDisabled = on ? "true" : null;
  $("message").readOnly = on;
  const words = "Sending. The answer is on its way. Closing this would not take the cancel back.";
  say($("dialog-status"), on ? words : "");
}

async function cancel(intent, name) {
  await sendAndShow({ intent, name, request: cancelRequest(person.accessToken, intent) });
}

/** Send the request behind the answer on show again, with the current token or a new signature. */
async function repeat() {
  await sendAndShow(
    sent.intent ? { ...sent, request: cancelRequest(person.accessToken, sent.intent) } : sent,
  );
}

async function sendAndShow(work) {
  sent = work;
  say($("announcer"), "Sent; waiting for the answer.");
  const { path, ...options } = work.request;
  const before = (await readOutbox(settings.stack).catch(() => [])).length;
  showAnswer(await send(settings.partner, path, options));
  await Promise.all([showAppointments(), showOutbox(before), showFaults()]);
}

async function stepUp() {
  await signIn(settings.partner, {
    claims: $("step-up").dataset.claims,
    person,
    resume: { intent: sent.intent, name: sent.name },
  });
}

function showAnswer(answer) {
  const meaning = readCancel(answer);
  const { name, tone } = VERDICTS[meaning.verdict];
  const unconfirmed = answer.body?.confirmed === false;
  const label = unconfirmed ? `${name}, unconfirmed` : name;
  $("answer").hidden = false;
  $("answer-verdict").className = `badge ${unconfirmed ? "warn" : tone}`;
  $("answer-verdict").textContent = label;
  $("answer-name").textContent = sent.name;
  $("answer-text").textContent = describe(answer);
  $("answer-facts").replaceChildren(
    ...facts(answer).map(([term, value, wide]) =>
      node(
        "div",
        { className: wide ? "wide" : "" },
        node("dt", {}, term),
        node("dd", {}, ...breakable(value)),
      ),
    ),
  );
  const errors = answer.body?.errors ?? [];
  $("answer-errors").hidden = errors.length === 0;
  $("answer-errors").replaceChildren(
    ...errors.map(({ field, message }) => node("li", {}, node("code", {}, field), `: ${message}`)),
  );
  $("request-text").textContent = textOf(sent.request);
  $("answer-json").textContent = answer.body
    ? JSON.stringify(answer.body, null, 2)
    : "An answer that cannot be read.";
  $("step-up").hidden = meaning.signInWith === null || !sent.intent;
  $("step-up").dataset.claims = meaning.signInWith?.claims ?? "";
  repeatLater(
    $("again"),
    "Send the same request again",
    meaning.mayRepeat ? (answer.retryAfterSeconds ?? 0) : 0,
  );
  say($("announcer"), `${label}: ${sent.name}. ${describe(answer)}`);
}

function facts({ status, body, milliseconds }) {
  const found = [["HTTP status", status ?? "none"]];
  const add = (term, value, wide = false) => {
    if (value === undefined) return;
    const words = typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
    found.push([term, words, wide]);
  };
  add("Outcome", body?.outcome);
  add("Code", body?.code);
  add("Cancelled", body?.cancelled);
  add("Confirmed", body?.confirmed);
  add("Replayed", body?.replayed);
  add("Missing", body?.missing);
  add("Retryable", body?.retryable);
  if (body?.retryAfterSeconds !== undefined) add("Retry after", `${body.retryAfterSeconds} s`);
  add("Took", `${milliseconds} ms`);
  if (body?.upstream) {
    const { service, status: theirs, code } = body.upstream;
    add("Upstream", [service, theirs, code].filter(Boolean).join(" "));
  }
  add("Request id", body?.requestId, true);
  return found;
}

async function copy() {
  await navigator.clipboard.writeText(curlOf(settings.partner.facade, sent.request));
  say($("announcer"), "Copied.");
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy as curl"), 2000);
}

/* The local stack */

function faultRow(fault) {
  const button = node(
    "button",
    { type: "button", ariaPressed: "false", id: `fault-${fault.id}` },
    node("strong", {}, fault.title),
    node("span", { className: "quiet" }, `Expect: ${fault.due}.`),
  );
  button.addEventListener("click", (event) => during(event, () => toggle(fault)));
  return node("li", {}, button);
}

async function toggle(fault) {
  const on = active !== fault;
  try {
    await switchAllOff(settings.stack);
    if (on) await switchOn(fault, settings.stack);
    active = on ? fault : null;
  } catch (error) {
    return say($("faults-status"), error.message);
  }
  // The fault before this one may have kept the appointments away.
  await Promise.all([showFaults(), showAppointments()]);
}

async function showFaults() {
  let waiting = 0;
  try {
    waiting = await countFaults(settings.stack);
  } catch (error) {
    return say($("faults-status"), error.message);
  }
  if (waiting === 0) active = null;
  for (const fault of FAULTS) $(`fault-${fault.id}`).ariaPressed = String(fault === active);
  const [status, text] = faultWords(waiting);
  say($("faults-status"), status);
  for (const banner of ["simulating", "dialog-simulating"]) {
    $(banner).hidden = !text;
    say($(banner), text);
  }
}

/** What the list of failures and the banner say, with so many faults `waiting`. */
function faultWords(waiting) {
  if (waiting === 0) return ["Nothing is simulated.", ""];
  if (active === null) {
    return ["A failure that was not chosen on this page is on.", "A failure is switched on."];
  }
  const banner = `Simulating: ${active.title}. Expect: ${active.due}.`;
  return ["Press it again to switch it off.", banner];
}

/** Show the outbox; the answer on show has the mails after the first `since`, if it is a number. */
async function showOutbox(since = null) {
  try {
    const mails = await readOutbox(settings.stack);
    say($("outbox-status"), counted(mails.length));
    $("outbox").replaceChildren(...mails.map(mailRow));
    if (typeof since !== "number") return;
    const fresh = mails.slice(0, mails.length - since);
    say($("mails-status"), fresh.length ? counted(fresh.length) : "This request sent no mail.");
    $("mails").replaceChildren(...fresh.map(mailRow));
  } catch (error) {
    say($("outbox-status"), error.message);
  }
}

function counted(number) {
  if (number === 0) return "No mail was sent.";
  return number === 1 ? "1 mail was sent." : `${number} mails were sent.`;
}

function mailRow({ to, kind, message, at }) {
  const sentAt = new Date(at * 1000);
  const moment = { className: "quiet", dateTime: sentAt.toISOString() };
  const address = node("span", { className: "quiet" }, to);
  return node(
    "li",
    {},
    node("div", {}, node("strong", {}, `To the ${kind}`), address),
    node("time", moment, sentAt.toLocaleTimeString()),
    node("p", { className: "mail" }, message),
  );
}

function offerToWebhook(businessId, appointments) {
  const offered = businessId === settings.stack.webhook.businessId ? appointments : [];
  $("webhook-appointment").replaceChildren(
    ...offered.map((one) => {
      const option = node("option", { value: one.appointmentId }, nameAndTime(one));
      option.dataset.name = nameOf(one);
      return option;
    }),
  );
  const advice = "Choose the business that the key allows, and days with an appointment.";
  say($("webhook-status"), offered.length ? "" : advice);
}

async function sendWebhook() {
  const choice = $("webhook-appointment").selectedOptions[0];
  if (!choice) return;
  const body = { businessId: settings.stack.webhook.businessId, appointmentId: choice.value };
  await sendAndShow({
    intent: null,
    name: choice.dataset.name,
    request: await webhookRequest(settings.stack, body),
  });
  $("answer-title").focus();
}

async function bookAnother() {
  const start = new Date($("book-start").value);
  await bookAll(
    [[$("book-service").value, $("book-customer").value, start]],
    `Booked for ${$("book-customer").value}.`,
  );
}

async function bookMore() {
  const start = new Date($("book-start").value);
  const hour = 60 * 60 * 1000;
  const at = (index) => new Date(start.getTime() + (index + 1) * hour);
  const bookings = MORE.map(([service, customer], index) => [service, customer, at(index)]);
  await bookAll(bookings, "Booked three more.");
}

async function bookAll(bookings, words) {
  try {
    for (const [serviceName, customerName, start] of bookings) {
      const mailbox = customerName.toLowerCase().replace(/[^a-z]+/g, "") || "customer";
      await book(settings.stack, $("business").value, {
        serviceName,
        customerName,
        customerEmail: `${mailbox}@contoso.com`,
        start,
      });
    }
    say($("book-status"), words);
    await showAppointments();
  } catch (error) {
    say($("book-status"), error.message);
  }
}

async function reset() {
  say($("announcer"), "Going back to the start.");
  try {
    await resetAll(settings.stack);
  } catch (error) {
    return say($("announcer"), error.message);
  }
  active = null;
  $("answer").hidden = true;
  await Promise.all([showAppointments(), showOutbox(), showFaults()]);
  say($("announcer"), "The demo is back at the start.");
}

function describe({ kind, status, body }) {
  if (kind === "success") return body.message ?? "Done.";
  if (kind === "problem") return `${body.title}. ${body.detail}`;
  const why =
    status === null
      ? "No answer came: the service is not there, or does not let this page call it (CORS)."
      : `The answer is not one of the service's contract (HTTP ${status}).`;
  return `${why} Sending the same request again is safe.`;
}

await begin();
