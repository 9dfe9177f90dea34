// Sign-in of a single-page app with MSAL.js 5 (npm install @azure/msal-browser), and the token for
// each call.
import { EventType, PublicClientApplication } from "@azure/msal-browser";
import { SignInFailed } from "./cancelAppointment.mjs";

const LOOK_MS = 1000;
const BLOCKED = ["popup_window_error", "empty_window_error"];
const STOPPED = "You stopped signing in: nothing more was sent.";

/** Starts MSAL when the page is loaded: a pop-up is blocked unless a click opens it at once. */
export async function startSignIn({ authority, clientId, redirectUri }) {
  const msal = new PublicClientApplication({
    auth: {
      clientId,
      authority,
      knownAuthorities: [new URL(authority).host], // ours, and no user's input
      redirectUri, // the page redirect.html, registered as a single-page application's
      clientCapabilities: ["CP1"], // this client answers claims challenges
    },
    cache: { cacheLocation: "sessionStorage" },
    system: { popupBridgeTimeout: 300_000 }, // a second factor takes its time
  });
  await msal.initialize();
  return msal;
}

/** Signs a person in; call it in a click. Throws SignInFailed. */
export async function signIn(msal, scopes, ask) {
  const { account } = await inPopup(msal, { scopes, prompt: "select_account" }, ask);
  msal.setActiveAccount(account);
  return account;
}

/**
 * Returns `acquireToken` for one cancel of the person who is signed in now: from the cache if it
 * can, else in a pop-up. Only the person who began may continue: SignInFailed for anybody else.
 *
 * A challenge comes seconds after the click, and a browser blocks the pop-up that it would open. So
 * `ask(reason, signal)` asks for a fresh click. It returns a promise: of true, settled by a click,
 * or of false, when the person does not want to. `reason` is "more" (the service asks for more
 * proof), "blocked" (the browser opened no window) or "closed" (the window seems to be closed,
 * without an answer). When `signal` is aborted, the question is over.
 */
export function acquireTokenOf(msal, scopes, ask) {
  const account = msal.getActiveAccount();
  return async function acquireToken(claims) {
    const wanted = { scopes, account, ...(claims ? { claims } : {}) };
    try {
      return (await msal.acquireTokenSilent(wanted)).accessToken;
    } catch (error) {
      if (error.name !== "InteractionRequiredAuthError") throw error;
    }
    if (!(await ask("more", new AbortController().signal))) throw new SignInFailed(STOPPED);
    const result = await inPopup(msal, wanted, ask);
    if (result.account.homeAccountId !== account.homeAccountId) {
      throw new SignInFailed(
        `${account.username} began, and somebody else signed in: nothing more was sent.`,
      );
    }
    return result.accessToken;
  };
}

// MSAL.js 5 does not report that a pop-up was closed; it waits until its time is over. And a window
// may only look closed from here (Cross-Origin-Opener-Policy). So the page asks, and the first
// answer counts: that of the pop-up, or that of the person.
async function inPopup(msal, wanted, ask) {
  for (;;) {
    const over = new AbortController();
    const answer = msal.acquireTokenPopup({ ...wanted, overrideInteractionInProgress: true });
    const again = closed(msal, over.signal).then(() => ask("closed", over.signal));
    let first;
    try {
      first = await Promise.race([answer, again]);
    } catch (error) {
      if (!BLOCKED.includes(error.errorCode)) {
        throw new SignInFailed(`Nobody signed in: ${error.message}`);
      }
      first = await ask("blocked", over.signal);
    } finally {
      over.abort();
    }
    if (typeof first === "object") return first;
    answer.catch(() => {}); // given up
    if (!first) throw new SignInFailed(STOPPED);
  }
}

/** Returns a promise that is kept when the pop-up that opens next is closed, or looks like it. */
function closed(msal, signal) {
  return new Promise((resolve) => {
    const listener = msal.addEventCallback(
      ({ payload }) => {
        const look = setInterval(() => payload.popupWindow.closed && resolve(), LOOK_MS);
        signal.addEventListener("abort", () => clearInterval(look));
      },
      [EventType.POPUP_OPENED],
    );
    signal.addEventListener("abort", () => msal.removeEventCallback(listener));
  });
}
