// A page that cancels an appointment as the person who is signed in. settings.json beside it has
// { "api", "authority", "clientId", "scope" }: the service's address with /api,
// https://login.microsoftonline.com/<tenant>, this page's registration, and the service's scope.
import { cancelAppointment } from "./cancelAppointment.mjs";
import { acquireTokenOf, signIn, startSignIn } from "./signInBrowser.mjs";

const REASONS = {
  more: "The service asks for more proof that it is you. Sign in again, and the cancel goes on.",
  blocked: "The browser opened no window. Sign in with a click.",
  closed: "The sign-in window seems to be closed. If it is open, go on there.",
};
const at = (id) => document.getElementById(id);
const say = (text) => {
  at("status").textContent = text;
};
const settings = await (await fetch("settings.json")).json();
const scopes = [settings.scope];
const redirectUri = new URL("redirect.html", location.href).href;
const msal = await startSignIn({ ...settings, redirectUri });
let wanted = null; // what the person wants, and its key: the same for every repeat

/** Asks for a fresh click, in which a pop-up may open. */
function ask(reason, signal) {
  at("reason").textContent = REASONS[reason];
  at("question").hidden = false;
  return new Promise((resolve) => {
    at("yes").onclick = () => resolve(true);
    at("no").onclick = () => resolve(false);
    signal.addEventListener("abort", () => resolve(false));
  }).finally(() => {
    at("question").hidden = true;
  });
}

/** Does what was clicked; only one thing at a time. */
async function attempt(action) {
  at("sign-in").disabled = at("cancel").disabled = true;
  try {
    await action();
  } catch (error) {
    say(error.message);
  } finally {
    show();
  }
}

function show() {
  const person = msal.getActiveAccount();
  at("person").textContent = person ? `Signed in as ${person.name}.` : "Nobody is signed in.";
  at("sign-in").textContent = person ? "Sign in as somebody else" : "Sign in";
  at("sign-in").disabled = false;
  at("cancel").disabled = !person;
}

at("sign-in").onclick = () =>
  attempt(async () => {
    wanted = null; // what one person began, nobody else goes on with
    say("Sign in, in the window that opens.");
    await signIn(msal, scopes, ask);
    say("");
  });

at("form").onsubmit = (event) => {
  event.preventDefault();
  const filled = [...new FormData(at("form"))].filter(([, text]) => text.trim());
  const request = Object.fromEntries(filled);
  attempt(async () => {
    const same = wanted && JSON.stringify(wanted.request) === JSON.stringify(request);
    if (!same) wanted = { request, key: crypto.randomUUID() };
    say("Sending ...");
    const acquireToken = acquireTokenOf(msal, scopes, ask);
    const answer = await cancelAppointment({ api: settings.api, ...wanted, acquireToken, say });
    wanted = null;
    say(answer.message);
  });
};

show();
