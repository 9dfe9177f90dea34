/*
 * The page: what the person sees and does. partner.js talks to the service, stack.js has the tools
 * of the local stack, parts.js has small pieces of the page.
 */

import { cancelRequest, completeSignIn, intendToCancel, listAppointments, listBusinesses, readCancel, send, signIn } from "./partner.js";
import { curlOf, during, localSpan, node, repeatLater, say, show, tabs, textOf } from "./parts.js";
import { FAULTS, book, countFaults, readOutbox, resetAll, switchAllOff, switchOn, webhookRequest } from "./stack.js";

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
  $("business").replaceChildren(...answer.body.businesses.map(({ businessId, displayName }) => node("option", { value: businessId }, displayName)));
  if (answer.body.businesses.length === 0) return say($("listing"), "You are on the staff of no business.");
  await showAppointments();
}

async function showAppointments() {
  const businessId = $("business").value;
  if (!businessId) return;
  const start = new Date(`${$("start").value}T00:00`);
  const end = new Date(`${$("end").value}T00:00`);
  end.setDate(end.getDate() + 1); // the last day is shown whole
  const answer = await listAppointments(settings.partner, person.accessToken, businessId, { start, end });
  if (answer.kind !== "success") return showListing(answer);
  const { appointments, complete } = answer.body;
  $("appointments").replaceChildren(...appointments.map((appointment) => appointmentRow({ businessId, ...appointment })));
  offerToWebhook(businessId, appointments);
  const count = appointments.length === 1 ? "1 appointment" : `${appointments.length} appointments`;
  say($("listing"), complete ? `${count} in this time.` : `The first ${count}; there are more. Choose a shorter time.`);
}

function showListing(answer) {
  $("appointments").replaceChildren();
  say($("listing"), answer.kind === "problem" ? `${answer.body.title} (${answer.body.code}). ${answer.body.detail}` : describe(answer));
}

function nameOf({ serviceName, customerName, title }) {
  return [serviceName, customerName].filter(Boolean).join(", ") || title;
}

function appointmentRow(appointment) {
  const { title, start, end, attendees } = appointment;
  const button = node("button", { type: "button", ariaLabel: `Cancel ${title}` }, "Cancel …");
  button.addEventListener("click", () => ask(appointment));
  const time = start && end ? [node("time", { className: "when", dateTime: start }, localSpan(start, end))] : [];
  const group = attendees > 1 ? [node("span", { className: "quiet" }, `A group of ${attendees}`)] : [];
  const utc = nameOf(appointment) === title ? [] : [node("span", { className: "quiet" }, title)];
  return node("li", {}, node("div", {}, ...time, node("strong", {}, nameOf(appointment)), ...group, ...utc), button);
}

/* Cancelling */

function ask(appointment) {
  chosen = appointment;
  const { start, end, attendees } = appointment;
  $("dialog-what").textContent = start && end ? `${nameOf(appointment)}, ${localSpan(start, end)}` : nameOf(appointment);
  $("dialog-group").hidden = !(attendees > 1);
  $("dialog-group").textContent = `This is a group of ${attendees}: it is cancelled for all of them.`;
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
  say($("dialog-status"), on ? "Sending. The answer is on its way, and closing this would not take the cancel back." : "");
}

async function cancel(intent, name) {
  await sendAndShow({ intent, name, request: cancelRequest(person.accessToken, intent) });
}

/** Send the request behind the answer on show again, with the current token or a new signature. */
async function repeat() {
  await sendAndShow(sent.intent ? { ...sent, request: cancelRequest(person.accessToken, sent.intent) } : sent);
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
  await signIn(settings.partner, { claims: $("step-up").dataset.claims, person, resume: { intent: sent.intent, name: sent.name } });
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
  $("answer-facts").replaceChildren(...facts(answer).map(([term, value, wide]) => node("div", { className: wide ? "wide" : "" }, node("dt", {}, term), node("dd", {}, value))));
  const errors = answer.body?.errors ?? [];
  $("answer-errors").hidden = errors.length === 0;
  $("answer-errors").replaceChildren(...errors.map(({ field, message }) => node("li", {}, node("code", {}, field), `: ${message}`)));
  $("request-text").textContent = textOf(sent.request);
  $("answer-json").textContent = answer.body ? JSON.stringify(answer.body, null, 2) : "Nothing that could be read.";
  $("step-up").hidden = meaning.signInWith === null || !sent.intent;
  $("step-up").dataset.claims = meaning.signInWith?.claims ?? "";
  repeatLater($("again"), "Send the same request again", meaning.mayRepeat ? (answer.retryAfterSeconds ?? 0) : 0);
  say($("announcer"), `${label}: ${sent.name}. ${describe(answer)}`);
}

function facts({ status, body, milliseconds }) {
  const found = [["HTTP status", status ?? "none"]];
  const add = (term, value, wide = false) => value !== undefined && found.push([term, value === true ? "yes" : value === false ? "no" : String(value), wide]);
  add("Outcome", body?.outcome);
  add("Code", body?.code);
  add("Cancelled", body?.cancelled);
  add("Confirmed", body?.confirmed);
  add("Replayed", body?.replayed);
  add("Missing", body?.missing);
  add("Retryable", body?.retryable);
  add("Retry after", body?.retryAfterSeconds === undefined ? undefined : `${body.retryAfterSeconds} s`);
  add("Took", `${milliseconds} ms`);
  if (body?.upstream) add("Upstream", [body.upstream.service, body.upstream.status, body.upstream.code].filter(Boolean).join(" "));
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
  const button = node("button", { type: "button", ariaPressed: "false", id: `fault-${fault.id}` }, node("strong", {}, fault.title), node("span", { className: "quiet" }, `Expect: ${fault.due}.`));
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
  say($("faults-status"), waiting === 0 ? "Nothing is simulated." : active ? "Press it again to switch it off." : "A failure that this page did not choose is switched on.");
  const text = active ? `Simulating: ${active.title}. Expect: ${active.due}.` : waiting ? "A failure is switched on." : "";
  for (const banner of ["simulating", "dialog-simulating"]) {
    $(banner).hidden = !text;
    say($(banner), text);
  }
}

/** Show the outbox; the answer on show has the mails after the first `since`, if it is a number. */
async function showOutbox(since = null) {
  try {
    const mails = await readOutbox(settings.stack);
    say($("outbox-status"), counted(mails.length));
    $("outbox").replaceChildren(...mails.map(mailRow));
    if (typeof since !== "number") return;
    const fresh = mails.slice(0, mails.length - since);
    say($("mails-status"), fresh.length === 0 ? "This request sent no mail." : counted(fresh.length));
    $("mails").replaceChildren(...fresh.map(mailRow));
  } catch (error) {
    say($("outbox-status"), error.message);
  }
}

function counted(number) {
  return number === 0 ? "No mail was sent." : number === 1 ? "1 mail was sent." : `${number} mails were sent.`;
}

function mailRow({ to, kind, message, at }) {
  const sentAt = new Date(at * 1000);
  const when = node("time", { className: "quiet", dateTime: sentAt.toISOString() }, sentAt.toLocaleTimeString());
  return node("li", {}, node("div", {}, node("strong", {}, `To the ${kind}`), node("span", { className: "quiet" }, to)), when, node("p", { className: "mail" }, message));
}

function offerToWebhook(businessId, appointments) {
  const offered = businessId === settings.stack.webhook.businessId ? appointments : [];
  $("webhook-appointment").replaceChildren(...offered.map((one) => node("option", { value: one.appointmentId }, one.title)));
  const advice = "Choose the business that the key allows, and days with an appointment.";
  say($("webhook-status"), offered.length ? "" : advice);
}

async function sendWebhook() {
  const choice = $("webhook-appointment").selectedOptions[0];
  if (!choice) return;
  const body = { businessId: settings.stack.webhook.businessId, appointmentId: choice.value };
  await sendAndShow({ intent: null, name: choice.textContent, request: await webhookRequest(settings.stack, body) });
  $("answer-title").focus();
}

async function bookAnother() {
  const start = new Date($("book-start").value);
  await bookAll([[$("book-service").value, $("book-customer").value, start]], `Booked for ${$("book-customer").value}.`);
}

async function bookMore() {
  const start = new Date($("book-start").value);
  const hour = 60 * 60 * 1000;
  await bookAll(MORE.map(([service, customer], index) => [service, customer, new Date(start.getTime() + (index + 1) * hour)]), "Booked three more.");
}

async function bookAll(bookings, words) {
  try {
    for (const [serviceName, customerName, start] of bookings) {
      const customerEmail = `${customerName.toLowerCase().replace(/[^a-z]+/g, "") || "customer"}@contoso.com`;
      await book(settings.stack, $("business").value, { serviceName, customerName, customerEmail, start });
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
  say($("announcer"), "The demo is as it was at the start.");
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
