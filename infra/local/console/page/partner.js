/*
 * What a partner's web app needs to use the service: sign in, call, read the answer. Plain browser APIs, no library, nothing of the local stack.
 * In production MSAL.js (@azure/msal-browser) takes the place of the first half; the second half stays as it is.
 *
 * The rules that are easy to miss:
 *  - The token is an access token for the service's own API (scope api://<api>/Appointments.Cancel), never an ID token and never one for Microsoft Graph.
 *  - A browser shows a page of another origin no header but a few, so everything worth knowing is in the JSON: read retryAfterSeconds, not Retry-After.
 *  - One Idempotency-Key per intended cancel, kept for every repeat of it. Then a repeat is safe whatever happened to the first attempt, even if no answer came.
 *  - Name the capability cp1 when asking for a token (MSAL: clientCapabilities: ["CP1"]): then Entra may ask for more in the middle of a session, and the
 *    service's interaction_required answers carry the challenge with which to sign in again.
 *  - What is resumed after a sign-in belongs to the person who began it. If somebody else signs in, nothing is sent: it would be done in their name.
 *  - Decide on outcome, code and retryable. Texts may change, and an outcome that is not known counts as a failure.
 */

const PENDING_SIGN_IN = "partner.sign-in";
const CAPABILITY = { xms_cc: { values: ["cp1"] } };

/** Signing in failed. `code` is the error code of OAuth, the message what Entra says about it. */
export class SignInFailed extends Error {
  constructor(code, description) {
    super(description || code);
    this.name = "SignInFailed";
    this.code = code;
  }
}

/*
 * First half: the authorization code flow with PKCE. The access token lives in memory alone, so a script of another page or a later visitor finds nothing;
 * the price is that a reload signs in again.
 */

/**
 * Leave for the sign-in page. `claims` is the challenge of an interaction_required answer as it stands there (base64 of JSON). `resume` is anything JSON that
 * comes back with the token, if `person`, who is signed in now, signs in again.
 */
export async function signIn(settings, { claims, person = null, resume = null } = {}) {
  const verifier = randomText();
  const state = randomText();
  const begunBy = person && { id: person.id, name: person.name };
  sessionStorage.setItem(PENDING_SIGN_IN, JSON.stringify({ verifier, state, resume, begunBy }));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const query = new URLSearchParams({
    client_id: settings.clientId,
    redirect_uri: settings.redirectUri,
    response_type: "code",
    response_mode: "fragment", // a fragment is sent to no server, so the code stands in no log
    scope: `${settings.scope} openid profile`,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  query.set("claims", JSON.stringify({ access_token: { ...CAPABILITY, ...(claims ? JSON.parse(decodeBase64(claims)).access_token : {}) } }));
  if (person) query.set("login_hint", person.username);
  location.assign(`${settings.authority}/oauth2/v2.0/authorize?${query}`);
}

/**
 * Finish a sign-in that this page returned from: `{ accessToken, id, name, username, resume, begunBy }`, or null when there was none. Throws SignInFailed.
 * `resume` is null unless this is the person who began it; `begunBy` is then the name of the one who did.
 */
export async function completeSignIn(settings) {
  const answer = new URLSearchParams(location.hash.slice(1));
  const pending = JSON.parse(sessionStorage.getItem(PENDING_SIGN_IN) ?? "null");
  if (!answer.has("code") && !answer.has("error")) return null;
  sessionStorage.removeItem(PENDING_SIGN_IN);
  history.replaceState(null, "", location.pathname); // neither a reload nor the history offers the code a second time
  if (!pending || answer.get("state") !== pending.state) throw new SignInFailed("state_mismatch", "This answer belongs to no sign-in of this page. Sign in again.");
  if (answer.has("error")) throw new SignInFailed(answer.get("error"), firstLine(answer.get("error_description")));
  const redeemed = await fetch(`${settings.authority}/oauth2/v2.0/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: settings.clientId,
      redirect_uri: settings.redirectUri,
      code: answer.get("code"),
      code_verifier: pending.verifier,
      scope: `${settings.scope} openid profile`,
    }),
  });
  const body = await redeemed.json();
  if (!redeemed.ok) throw new SignInFailed(body.error, firstLine(body.error_description));
  const { tid, oid, name, preferred_username: username } = claimsOf(body.id_token);
  const id = `${tid}.${oid}`; // addresses change hands, this pair does not
  const mayResume = pending.resume !== null && pending.begunBy?.id === id;
  const begunBy = pending.resume !== null && !mayResume ? (pending.begunBy?.name ?? "somebody else") : null;
  return { accessToken: body.access_token, id, name, username, resume: mayResume ? pending.resume : null, begunBy };
}

/*
 * Second half: the service. Every call ends in an Answer, also the ones that went wrong; nothing here throws.
 *
 * An Answer is { kind, status, body, retryAfterSeconds, milliseconds }:
 *   kind "success"     body is what was asked for
 *   kind "problem"     body is a problem (RFC 9457) with code, retryable, requestId
 *   kind "unanswered"  no answer came, or none of the contract: the network, a proxy, CORS. Whether a cancel took effect is not known; a repeat is safe.
 */

/** The booking businesses that the signed-in person may see. */
export function listBusinesses(settings, accessToken) {
  return call(settings, accessToken, "/api/v1/businesses");
}

/** The appointments of a business that overlap a span of time; `start` and `end` are Dates. */
export function listAppointments(settings, accessToken, businessId, { start, end }) {
  const span = new URLSearchParams({ start: start.toISOString(), end: end.toISOString() });
  return call(settings, accessToken, `/api/v1/businesses/${encodeURIComponent(businessId)}/appointments?${span}`);
}

/** One intended cancel: make it once, when the person decides, and send the same one for every repeat. */
export function intendToCancel(businessId, appointmentId, cancellationMessage) {
  const body = { businessId, appointmentId };
  if (cancellationMessage.trim()) body.cancellationMessage = cancellationMessage;
  return { idempotencyKey: crypto.randomUUID(), body };
}

/** Send an intended cancel. Ids travel in the body: they hold characters that addresses mangle. */
export function cancelAppointment(settings, accessToken, intent) {
  const { path, ...options } = cancelRequest(accessToken, intent);
  return send(settings, path, options);
}

/** The request behind `cancelAppointment`: { path, method, headers, body }. */
export function cancelRequest(accessToken, { idempotencyKey, body }) {
  return {
    path: "/api/v1/cancel-appointment",
    method: "POST",
    headers: { Authorization: `Bearer ${accessToken}`, "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
    body: JSON.stringify(body),
  };
}

/**
 * What an answer to a cancel means for the person: { verdict, mayRepeat, signInWith }.
 *   verdict     "cancelled" | "gone" (not there, or not visible to this user) | "unknown" (it is not known whether it took effect) | "failed"
 *   mayRepeat   the same request, sent again unchanged, may succeed
 *   signInWith  null, or what signing in again needs: { claims }
 */
export function readCancel(answer) {
  if (answer.kind === "unanswered") return { verdict: "unknown", mayRepeat: true, signInWith: null };
  if (answer.kind === "success") {
    const verdict = { cancelled: "cancelled", not_found: "gone" }[answer.body.outcome] ?? "failed"; // the list of outcomes is open
    return { verdict, mayRepeat: false, signInWith: null };
  }
  const { code, retryable, claims } = answer.body;
  return {
    verdict: code === "outcome_unknown" ? "unknown" : "failed",
    mayRepeat: retryable === true,
    signInWith: answer.status === 401 ? { claims } : null,
  };
}

function call(settings, accessToken, path) {
  return send(settings, path, { headers: { Authorization: `Bearer ${accessToken}` } });
}

/** Send a request to the service, and return its Answer. */
export async function send({ facade }, path, options) {
  const begun = performance.now();
  const elapsed = () => Math.round(performance.now() - begun);
  const unanswered = (status) => ({ kind: "unanswered", status, body: null, retryAfterSeconds: null, milliseconds: elapsed() });
  let response;
  let body;
  try {
    response = await fetch(facade + path, {
      ...options,
      credentials: "omit", // a bearer token is all the service looks at
      cache: "no-store",
    });
    body = await response.json();
  } catch {
    return unanswered(response?.status ?? null);
  }
  const isProblem = !response.ok && typeof body?.code === "string";
  if (!isProblem && (response.status !== 200 || body === null || typeof body !== "object")) return unanswered(response.status);
  return { kind: isProblem ? "problem" : "success", status: response.status, body, retryAfterSeconds: body.retryAfterSeconds ?? null, milliseconds: elapsed() };
}

function randomText() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decodeBase64(text) {
  return new TextDecoder().decode(Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0)));
}

/** Read an ID token to greet a person by name. It came straight from Entra over the page's own request, so its signature proves nothing more here. */
function claimsOf(idToken) {
  return JSON.parse(decodeBase64(idToken.split(".")[1]));
}

function firstLine(text) {
  return (text ?? "").split(/\r?\n/)[0];
}
