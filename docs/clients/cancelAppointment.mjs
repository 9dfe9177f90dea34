// Cancels one Bookings appointment: the call itself, for browsers and Node.js 20 or later. It needs no package.
// Sign-in is somewhere else: signInBrowser.mjs and signInNode.mjs make the `acquireToken` that is handed in.

const ATTEMPTS = 4;
const TIMEOUT_MS = 30_000;

/** The appointment may not be cancelled. `code`, `retryable` and `requestId` are the service's: decide on them, never on the text. */
export class CancelFailed extends Error {
  constructor(answer, status) {
    super(`${status} ${answer.code ?? ""} ${answer.detail ?? ""} requestId ${answer.requestId ?? ""}`);
    this.name = "CancelFailed";
    this.code = answer.code ?? (status === 200 ? "unknown_outcome" : "no_answer");
    this.retryable = answer.retryable === true;
    this.requestId = answer.requestId;
  }
}

/**
 * Cancels, and returns the service's answer, whose `outcome` is "cancelled" or "not_found". Throws CancelFailed otherwise.
 *
 * All attempts have one Idempotency-Key, so they are one request: a repeat never cancels twice.
 * `acquireToken(claims)` returns an access token for the service; `claims` is a claims challenge (JSON) or undefined.
 */
export async function cancelAppointment({ api, request, acquireToken, key = crypto.randomUUID(), wait = seconds }) {
  let token = await acquireToken();
  let challenged = false;
  let status = 0;
  let answer = {};
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    if (attempt > 0) await wait(answer.retryAfterSeconds ?? 5);
    [status, answer] = await post(api, request, token, key);
    if (answer.code === "interaction_required" && answer.claims && !challenged) {
      challenged = true;
      token = await acquireToken(atob(answer.claims));
      [status, answer] = await post(api, request, token, key);
    }
    if (status === 200) break;
    if (status !== 0 && answer.retryable !== true) break; // 0: no answer came, and a repeat with the same key finds out
  }
  if (status === 200 && (answer.outcome === "cancelled" || answer.outcome === "not_found")) return answer;
  throw new CancelFailed(answer, status); // also for an outcome that this client does not know
}

// A page cannot read the header Retry-After of another origin: the body repeats it.
async function post(api, request, token, key) {
  let response;
  try {
    response = await fetch(`${api}/v1/cancel-appointment`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(request),
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return [0, {}];
  }
  const answer = await response.json().catch(() => null);
  return [response.status, answer !== null && typeof answer === "object" ? answer : {}];
}

function seconds(count) {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}
