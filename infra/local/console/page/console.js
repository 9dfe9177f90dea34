/* The page: what the person sees and does. Talking to the service is in partner.js, the local stack's tools are in stack.js. Markup is built from nodes, never from text. */

import { cancelAppointment, completeSignIn, intendToCancel, listAppointments, listBusinesses, readCancel, signIn } from "./partner.js";
import { FAULTS, book, countFaults, readOutbox, switchAllOff, switchOn } from "./stack.js";

const VERDICTS = {
  cancelled: { name: "Cancelled", tone: "good" },
  gone: { name: "Not found", tone: "warn" },
  unknown: { name: "Not known", tone: "warn" },
  failed: { name: "Failed", tone: "bad" },
};

const $ = (id) => document.getElementById(id);
const settings = await (await fetch("config.json", { cache: "no-store" })).json();
let person = null;
let chosen = null; // the appointment in the dialog: { businessId, appointmentId, title }
let sent = null; // the intended cancel behind the answer on show
let countdown = 0;

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
  await Promise.all([showBusinesses(), showOutbox(), showFaults()]);
  if (person.resume) await send(person.resume);
}

function prepare() {
  $("start").value = settings.range.start;
  $("end").value = settings.range.end;
  $("book-start").value = `${settings.range.start}T15:00`;
  $("search").addEventListener("submit", (event) => during(event, showAppointments));
  $("business").addEventListener("change", showAppointments);
  $("dialog-form").addEventListener("submit", (event) => during(event, confirmCancel));
  $("keep").addEventListener("click", () => $("dialog").close());
  $("again").addEventListener("click", (event) => during(event, () => send(sent)));
  $("step-up").addEventListener("click", stepUp);
  $("outbox-refresh").addEventListener("click", (event) => during(event, showOutbox));
  $("faults-off").addEventListener("click", (event) => during(event, turnFaultsOff));
  $("book").addEventListener("submit", (event) => during(event, bookAnother));
  $("faults").replaceChildren(...FAULTS.map(faultRow));
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
  $("appointments").replaceChildren(...appointments.map((appointment) => appointmentRow(businessId, appointment)));
  const count = appointments.length === 1 ? "1 appointment" : `${appointments.length} appointments`;
  say($("listing"), complete ? `${count} in this time.` : `The first ${count}; there are more. Choose a shorter time.`);
}

function showListing(answer) {
  $("appointments").replaceChildren();
  say($("listing"), answer.kind === "problem" ? `${answer.body.title} (${answer.body.code}).` : describe(answer));
}

function appointmentRow(businessId, { appointmentId, title, start, end }) {
  const cancel = node("button", { type: "button", ariaLabel: `Cancel ${title}` }, "Cancel …");
  cancel.addEventListener("click", () => ask({ businessId, appointmentId, title }));
  const time = start && end ? [node("time", { className: "quiet", dateTime: start }, `Your time: ${span(start, end)}`)] : [];
  return node("li", {}, node("div", {}, node("strong", {}, title), ...time), cancel);
}

/* Cancelling */

function ask(appointment) {
  chosen = appointment;
  $("dialog-what").textContent = appointment.title;
  $("message").value = "";
  $("dialog").showModal();
  $("message").focus();
}

async function confirmCancel() {
  const intent = intendToCancel(chosen.businessId, chosen.appointmentId, $("message").value);
  $("confirm").textContent = "Cancelling …";
  try {
    await send(intent);
  } finally {
    $("confirm").textContent = "Cancel appointment";
    $("dialog").close();
  }
  $("answer-title").focus();
}

async function send(intent) {
  sent = intent;
  say($("announcer"), "Sent; waiting for the answer.");
  showAnswer(await cancelAppointment(settings.partner, person.accessToken, intent));
  await Promise.all([showAppointments(), showOutbox(), showFaults()]);
}

async function stepUp() {
  await signIn(settings.partner, { claims: $("step-up").dataset.claims, loginHint: person.username, resume: sent });
}

function showAnswer(answer) {
  const meaning = readCancel(answer);
  const { name, tone } = VERDICTS[meaning.verdict];
  const unconfirmed = answer.body?.confirmed === false;
  const label = unconfirmed ? `${name}, unconfirmed` : name;
  $("answer").hidden = false;
  $("answer-title").replaceChildren("The answer ", node("span", { className: `badge ${unconfirmed ? "warn" : tone}` }, label));
  $("answer-text").textContent = describe(answer);
  $("answer-facts").replaceChildren(...facts(answer).map(([term, value, wide]) => node("div", { className: wide ? "wide" : "" }, node("dt", {}, term), node("dd", {}, value))));
  const errors = answer.body?.errors ?? [];
  $("answer-errors").hidden = errors.length === 0;
  $("answer-errors").replaceChildren(...errors.map(({ field, message }) => node("li", {}, node("code", {}, field), `: ${message}`)));
  $("answer-json").textContent = answer.body ? JSON.stringify(answer.body, null, 2) : "Nothing that could be read.";
  $("step-up").hidden = meaning.signInWith === null;
  $("step-up").dataset.claims = meaning.signInWith?.claims ?? "";
  offerRepeat(meaning, answer.retryAfterSeconds);
  say($("announcer"), `${label}. ${describe(answer)}`);
}

function facts({ status, body, milliseconds }) {
  const found = [["HTTP status", status ?? "none"]];
  const add = (term, value, wide = false) => value !== undefined && found.push([term, value === true ? "yes" : value === false ? "no" : String(value), wide]);
  add("Outcome", body?.outcome);
  add("Code", body?.code);
  add("Cancelled", body?.cancelled);
  add("Confirmed", body?.confirmed);
  add("Replayed", body?.replayed);
  add("Retryable", body?.retryable);
  add("Retry after", body?.retryAfterSeconds === undefined ? undefined : `${body.retryAfterSeconds} s`);
  add("Took", `${milliseconds} ms`);
  if (body?.upstream) add("Upstream", [body.upstream.service, body.upstream.status, body.upstream.code].filter(Boolean).join(" "));
  add("Request id", body?.requestId, true);
  return found;
}

/** Offer the same request once more; where the answer names a wait, when it is over. */
function offerRepeat({ mayRepeat }, retryAfterSeconds) {
  clearInterval(countdown);
  const button = $("again");
  const text = "Send the same request again";
  const until = performance.now() + (mayRepeat ? (retryAfterSeconds ?? 0) : 0) * 1000;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.textContent = left > 0 ? `${text}, in ${left} s` : text;
    if (left <= 0) clearInterval(countdown);
  };
  countdown = setInterval(tick, 250);
  tick();
}

/* The local stack */

function faultRow(fault) {
  const button = node("button", { type: "button", ariaLabel: `Switch on: ${fault.title}` }, "Switch on");
  button.addEventListener("click", (event) =>
    during(event, async () => {
      await switchAllOff(settings.stack);
      await switchOn(fault, settings.stack);
      await Promise.all([showFaults(fault.title), showAppointments()]); // the fault before this one may have kept them away
    }),
  );
  return node("li", {}, node("div", {}, node("strong", {}, fault.title), node("span", { className: "quiet" }, `Due: ${fault.due}.`)), button);
}

async function turnFaultsOff() {
  await switchAllOff(settings.stack);
  await Promise.all([showFaults(), showAppointments()]);
}

async function showFaults(title = null) {
  try {
    const waiting = await countFaults(settings.stack);
    const name = title ?? $("faults-planned").dataset.title;
    $("faults-planned").dataset.title = waiting ? name : "";
    say($("faults-planned"), waiting ? `Switched on: ${name || "a fault"}` : "Nothing is switched on.");
    $("faults-planned").parentElement.classList.toggle("on", waiting > 0);
    $("faults-off").hidden = waiting === 0;
  } catch (error) {
    say($("faults-planned"), error.message);
  }
}

async function showOutbox() {
  try {
    const mails = await readOutbox(settings.stack);
    say($("outbox-status"), mails.length === 0 ? "No mail was sent." : mails.length === 1 ? "1 mail was sent." : `${mails.length} mails were sent.`);
    $("outbox").replaceChildren(...mails.map(mailRow));
  } catch (error) {
    say($("outbox-status"), error.message);
  }
}

function mailRow({ to, kind, message, at }) {
  const sentAt = new Date(at * 1000);
  const when = node("time", { className: "quiet", dateTime: sentAt.toISOString() }, sentAt.toLocaleTimeString());
  return node("li", {}, node("div", {}, node("strong", {}, `To the ${kind}`), node("span", { className: "quiet" }, to)), when, node("p", { className: "mail" }, message));
}

async function bookAnother() {
  const customerName = $("book-customer").value;
  const appointment = {
    serviceName: $("book-service").value,
    customerName,
    customerEmail: `${customerName.toLowerCase().replace(/[^a-z]+/g, "") || "customer"}@contoso.com`,
    start: new Date($("book-start").value),
  };
  try {
    await book(settings.stack, $("business").value, appointment);
    say($("book-status"), `Booked for ${customerName}.`);
    await showAppointments();
  } catch (error) {
    say($("book-status"), error.message);
  }
}

/* Small things */

/** Run what a button or form asks for, with the button out of use meanwhile. */
async function during(event, work) {
  event.preventDefault();
  const button = event.submitter ?? event.currentTarget;
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true"; // not disabled: that would lose the focus
  try {
    await work();
  } finally {
    button.ariaDisabled = null;
  }
}

function describe({ kind, status, body }) {
  if (kind === "success") return body.message ?? "Done.";
  if (kind === "problem") return `${body.title}. ${body.detail}`;
  const why = status === null ? "No answer came: the service is not there, or does not let this page call it (CORS)." : `An answer came that is none of the contract's (HTTP ${status}).`;
  return `${why} Sending the same request again is safe.`;
}

function span(start, end) {
  const [from, to] = [new Date(start), new Date(end)];
  const day = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  const clock = { hour: "2-digit", minute: "2-digit" };
  return `${from.toLocaleDateString(undefined, day)}, ${from.toLocaleTimeString(undefined, clock)} to ${to.toLocaleTimeString(undefined, clock)}`;
}

function node(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function say(place, text) {
  place.textContent = text;
}

function show(place, text) {
  place.textContent = text;
  place.hidden = false;
}

await begin();
