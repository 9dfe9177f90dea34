/*
 * What a partner's web app needs to use the service: sign in, call, read the answer. It uses plain
 * browser APIs, no library, and nothing of the local stack. In production MSAL.js
 * (@azure/msal-browser) replaces the first half; the second half stays as it is.
 *
 * The rules that are easy to miss:
 *  - The token is an access token for the service's own API (scope
 *    api://<api>/Appointments.Cancel). It is never an ID token, and never one for Microsoft Graph.
 *  - A browser hides most headers from a page of another origin. So everything worth knowing is in
 *    the JSON: read retryAfterSeconds, not Retry-After.
 *  - Use one Idempotency-Key for each intended cancel, and keep it for every repeat. Then a repeat
 *    is safe whatever happened to the first attempt, even if no answer came.
 *  - Name the capability cp1 when you ask for a token (MSAL: clientCapabilities: ["CP1"]). Then
 *    Entra may ask for more in the middle of a session, and the service's interaction_required
 *    answers carry the challenge for the next sign-in.
 *  - What goes on after a sign-in belongs to the person who began it. If somebody else signs in,
 *    send nothing: it would happen in their name.
 *  - Decide on outcome, code and retryable. Texts may change. An unknown outcome is a failure.
 */

const PENDING_SIGN_IN = "partner.sign-in";
const CAPABILITY = { xms_cc: { values: ["cp1"] } };

/** Signing in failed; `code` is OAuth's error code, and the message is what Entra says about it. */
export class SignInFailed extends Error {
  constructor(code, description) {
    super(description || code);
    this.name = "SignInFailed";
    this.code = code;
  }
}

/*
 * First half: the authorization code flow with PKCE. The access token lives in memory alone, so a
 * script of another page or a later visitor finds nothing. The price: a reload signs in again.
 */

/**
 * Go to the sign-in page. `claims` is the challenge of an interaction_required answer, as it stands
 * there (base64 of JSON). `resume` is any JSON; it comes back with the token if `person`, who is
 * signed in now, signs in again.
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
    response_mode: "fragment", // no server gets a fragment, so no log has the code
    scope: `${settings.scope} openid profile`,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  const challenge = claims ? JSON.parse(decodeBase64(claims)).access_token : {};
  query.set("claims", JSON.stringify({ access_token: { ...CAPABILITY, ...challenge } }));
  if (person) query.set("login_hint", person.username);
  location.assign(`${settings.authority}/oauth2/v2.0/authorize?${query}`);
}

/**
 * Finish a sign-in that led back to this page. Returns `{ accessToken, id, name, username, resume,
 * begunBy }`, or null if there was none. Throws SignInFailed. If another person began it, `resume`
 * is null and `begunBy` is that person's name.
 */
export async function completeSignIn(settings) {
  const answer = new URLSearchParams(location.hash.slice(1));
  const pending = JSON.parse(sessionStorage.getItem(PENDING_SIGN_IN) ?? "null");
  if (!answer.has("code") && !answer.has("error")) return null;
  sessionStorage.removeItem(PENDING_SIGN_IN);
  // After this, neither a reload nor the history offers the code a second time.
  history.replaceState(null, "", location.pathname);
  if (!pending || answer.get("state") !== pending.state) {
    const text = "This answer belongs to no sign-in of this page. Sign in again.";
    throw new SignInFailed("state_mismatch", text);
  }
  if (answer.has("error")) {
    throw new SignInFailed(answer.get("error"), firstLine(answer.get("error_description")));
  }
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
  const id = `${tid}.${oid}`; // an address may pass to somebody else, this pair never does
  const mayResume = pending.resume !== null && pending.begunBy?.id === id;
  const begunBy =
    pending.resume !== null && !mayResume ? (pending.begunBy?.name ?? "somebody else") : null;
  return {
    accessToken: body.access_token,
    id,
    name,
    username,
    resume: mayResume ? pending.resume : null,
    begunBy,
  };
}

/*
 * Second half: the service. Every call ends in an Answer, even if it fails; nothing here throws.
 *
 * An Answer is { kind, status, body, retryAfterSeconds, milliseconds }:
 *   kind "success"     body is what the call asked for
 *   kind "problem"     body is a problem (RFC 9457) with code, retryable, requestId
 *   kind "unanswered"  no answer of the service came: the network, a proxy, CORS. Nobody knows
 *                      whether a cancel took effect; a repeat is safe.
 */

/** The booking businesses that the signed-in person may see. */
export function listBusinesses(settings, accessToken) {
  return call(settings, accessToken, "/api/v1/businesses");
}

/** The appointments of a business that overlap a span of time; `start` and `end` are Dates. */
export function listAppointments(settings, accessToken, businessId, { start, end }) {
  const span = new URLSearchParams({ start: start.toISOString(), end: end.toISOString() });
  const business = encodeURIComponent(businessId);
  return call(settings, accessToken, `/api/v1/businesses/${business}/appointments?${span}`);
}

/** One intended cancel: make it when the person decides, and send the same one for every repeat. */
export function intendToCancel(businessId, appointmentId, cancellationMessage) {
  const body = { businessId, appointmentId };
  if (cancellationMessage.trim()) body.cancellationMessage = cancellationMessage;
  return { idempotencyKey: crypto.randomUUID(), body };
}

/** Send an intended cancel. Ids are in the body: addresses mangle some of their characters. */
export function cancelAppointment(settings, accessToken, intent) {
  const { path, ...options } = cancelRequest(accessToken, intent);
  return send(settings, path, options);
}

/** The request behind `cancelAppointment`: { path, method, headers, body }. */
export function cancelRequest(accessToken, { idempotencyKey, body }) {
  return {
    path: "/api/v1/cancel-appointment",
    method: "POST",
    headers: {
      Authorization: `Bearer ${accessToken}`,
      "Content-Type": "application/json",
      "Idempotency-Key": idempotencyKey,
    },
    body: JSON.stringify(body),
  };
}

/**
 * What an answer to a cancel means for the person: { verdict, mayRepeat, signInWith }.
 *   verdict     "cancelled" | "gone" (not there, or not visible to this user) |
 *               "unknown" (nobody knows whether it took effect) | "failed"
 *   mayRepeat   the same request, sent again unchanged, may succeed
 *   signInWith  null, or what the next sign-in needs: { claims }
 */
export function readCancel(answer) {
  if (answer.kind === "unanswered") {
    return { verdict: "unknown", mayRepeat: true, signInWith: null };
  }
  if (answer.kind === "success") {
    // The list of outcomes is open.
    const verdict = { cancelled: "cancelled", not_found: "gone" }[answer.body.outcome] ?? "failed";
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
  const unanswered = (status) => ({
    kind: "unanswered",
    status,
    body: null,
    retryAfterSeconds: null,
    milliseconds: elapsed(),
  });
  let response;
  let body;
  try {
    response = await fetch(facade + path, {
      ...options,
      credentials: "omit", // the service looks at nothing but the bearer token
      cache: "no-store",
    });
    body = await response.json();
  } catch {
    return unanswered(response?.status ?? null);
  }
  const isProblem = !response.ok && typeof body?.code === "string";
  const isSuccess = response.status === 200 && body !== null && typeof body === "object";
  if (!isProblem && !isSuccess) return unanswered(response.status);
  return {
    kind: isProblem ? "problem" : "success",
    status: response.status,
    body,
    retryAfterSeconds: body.retryAfterSeconds ?? null,
    milliseconds: elapsed(),
  };
}

function randomText() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function decodeBase64(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}

/*
 * Read an ID token to greet a person by name. It came straight from Entra, over the page's own
 * request, so its signature would prove nothing more here.
 */
function claimsOf(idToken) {
  return JSON.parse(decodeBase64(idToken.split(".")[1]));
}

function firstLine(text) {
  return (text ?? "").split(/\r?\n/)[0];
}
