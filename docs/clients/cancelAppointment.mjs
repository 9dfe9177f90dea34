// Cancels one Bookings appointment: the call itself, for browsers and Node.js 20 or later.
// It needs no package, and does not sign in: signInBrowser.mjs and signInNode.mjs make the
// `acquireToken` that it takes.

const ATTEMPTS = 4;
const TIMEOUT_MS = 30_000;
const PATIENCE_S = 120; // waits altogether; the service may ask for an hour, and somebody sits here
export const ENDS = { cancelled: 0, not_found: 3 };

/**
 * The appointment may not be cancelled. `code`, `retryable` and `requestId` are the service's:
 * decide on them, never on the text.
 */
export class CancelFailed extends Error {
  constructor(answer, status) {
    super(explain(answer, status));
    this.name = "CancelFailed";
    this.code = answer.code ?? (status === 200 ? "unknown_outcome" : "no_answer");
    this.retryable = pauseOf(answer, status) !== null;
    this.requestId = answer.requestId;
  }
}

/** Nobody signed in, or somebody else than the person who began. */
export class SignInFailed extends Error {
  name = "SignInFailed";
}

/**
 * Cancels, and returns the service's answer, whose `outcome` is "cancelled" or "not_found".
 * Throws CancelFailed otherwise, and what `acquireToken` throws.
 *
 * All attempts have one Idempotency-Key, so they are one request: a repeat never cancels twice.
 * `acquireToken(claims)` returns an access token for the service; `claims` is a claims challenge
 * (JSON) or undefined. `say` tells the person who waits.
 */
export async function cancelAppointment({
  api,
  request,
  acquireToken,
  key = crypto.randomUUID(),
  wait = seconds,
  say = console.error,
}) {
  let token = await acquireToken();
  let challenged = false;
  async function send() {
    const headers = { Authorization: `Bearer ${token}`, "Idempotency-Key": key };
    const body = JSON.stringify(request);
    const [status, answer] = await post(`${api}/v1/cancel-appointment`, headers, body);
    if (answer.code !== "interaction_required" || !answer.claims || challenged) {
      return [status, answer];
    }
    challenged = true;
    token = await acquireToken(atob(answer.claims));
    return send();
  }
  return settle(send, { wait, say });
}

/**
 * Sends until the answer is final, and returns it. Throws CancelFailed, also when the service asks
 * for a longer wait than is left.
 */
export async function settle(send, { wait = seconds, say = console.error } = {}) {
  let patience = PATIENCE_S;
  for (let attempt = 1; ; attempt += 1) {
    const [status, answer] = await send();
    if (status === 200 && Object.hasOwn(ENDS, answer.outcome)) return answer;
    const pause = pauseOf(answer, status);
    if (pause === null || pause > patience || attempt === ATTEMPTS) {
      throw new CancelFailed(answer, status);
    }
    patience -= pause;
    say(`${answer.code ?? "no answer"}: trying again in ${pause} seconds ...`);
    await wait(pause);
  }
}

/**
 * Sends once. A status of 0 means no answer. An empty answer means that it is not the service's
 * own: the service always names its requestId.
 */
export async function post(url, headers, body) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body,
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return [0, {}];
  }
  const answer = await response.json().catch(() => null);
  return [response.status, typeof answer?.requestId === "string" ? answer : {}];
}

// How long to wait before the same request is sent again; null if that cannot help. If the service
// itself did not answer (no answer, the page of a gateway), a repeat finds out. A page cannot read
// the header Retry-After of another origin: the body repeats it.
function pauseOf(answer, status) {
  if (answer.code === undefined) {
    return status === 0 || status === 408 || status === 429 || status >= 500 ? 5 : null;
  }
  if (answer.retryable !== true) return null;
  return answer.retryAfterSeconds >= 0 ? answer.retryAfterSeconds : 5;
}

function explain(answer, status) {
  let known = `No answer of the service (${status || "none at all"}).`;
  if (status === 200) known = `Unknown outcome '${answer.outcome}': treated as a failure.`;
  else if (answer.code) known = `${status} ${answer.code} ${answer.detail ?? ""}`;
  const faults = (answer.errors ?? []).map(({ field, message }) => `${field}: ${message}`);
  const pause = pauseOf(answer, status);
  const later = pause === null ? [] : [`The same request may be sent again in ${pause} seconds.`];
  return [known, ...faults, ...later, `requestId ${answer.requestId ?? "unknown"}`].join("\n");
}

function seconds(count) {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}
