"""What Entra's refusals of a token request mean: one table, pure.

HTTP status, ``error``, ``suberror`` and the presence of ``claims`` decide; the AADSTS numbers only
refine, because Microsoft may change them
(learn.microsoft.com/entra/identity-platform/reference-error-codes: "error ... should be used to
react to errors"). ``error_description`` is never read: it names tenants, apps and people.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from shared.errors import (
    AccessDenied,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    Throttled,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
    UserTokenRequired,
    word,
)
from shared.identity.claims_challenge import read_claims

_DEFAULT_WAIT_S = 5.0
_LOOP_WAIT_S = 60.0
# What Entra says about the one a token is asked for, and would say again. Everything else
# (throttled, unreachable, our own credential or set-up) is about the moment or about us.
ABOUT_THE_CALLER = (
    TokenRejected,
    InteractionRequired,
    ConsentRequired,
    AccessDenied,
    UserTokenRequired,
)


class CredentialRefused(Misconfigured):
    """Entra does not take our own credential, or the platform gives none.

    It may have been rotated, or it is wrong.
    """


class AskedToWait(UpstreamUnavailable):
    """Entra cannot answer at the moment and has named a time to wait."""


class AskedToSlowDown(Throttled):
    """Entra asks for fewer requests and has named a time to wait."""


class Meaning(Enum):
    """What a refusal asks of us."""

    CALLER_TOKEN = auto()  # the caller needs a new token
    CHALLENGE = auto()  # the caller has to prove more
    CONSENT = auto()
    DENIED = auto()  # policy or directory says no to this person
    APP_ONLY = auto()
    OUR_CREDENTIAL = auto()
    OUR_SETUP = auto()
    NOT_ONBOARDED = auto()  # our app is unknown in that tenant
    THROTTLED = auto()
    LOOP = auto()  # Entra thinks that we ask the same again and again
    TRANSIENT = auto()
    BROKEN = auto()


_BY_ERROR: Mapping[str, Meaning] = {
    "interaction_required": Meaning.CHALLENGE,
    "login_required": Meaning.CHALLENGE,
    "consent_required": Meaning.CONSENT,
    "invalid_grant": Meaning.CALLER_TOKEN,
    "access_denied": Meaning.DENIED,
    "invalid_client": Meaning.OUR_CREDENTIAL,
    "unauthorized_client": Meaning.OUR_SETUP,
    "invalid_request": Meaning.OUR_SETUP,
    "invalid_scope": Meaning.OUR_SETUP,
    "invalid_resource": Meaning.OUR_SETUP,
    "unsupported_grant_type": Meaning.OUR_SETUP,
    "temporarily_unavailable": Meaning.TRANSIENT,
    "slow_down": Meaning.THROTTLED,
    "server_error": Meaning.BROKEN,
}

# The words with which Entra sends a person somewhere; a suberror says where to.
_ASKS_A_PERSON = ("invalid_grant", "interaction_required")
# MSAL.NET, MsalServiceExceptionFactory and MsalError: what a suberror of these asks for.
_BY_SUBERROR: Mapping[str, Meaning] = {
    "basic_action": Meaning.CHALLENGE,
    "additional_action": Meaning.CHALLENGE,
    "message_only": Meaning.DENIED,
    "consent_required": Meaning.CONSENT,
    "user_password_expired": Meaning.CALLER_TOKEN,
    "bad_token": Meaning.CALLER_TOKEN,
    "token_expired": Meaning.CALLER_TOKEN,
    "client_mismatch": Meaning.DENIED,
    "protection_policy_required": Meaning.DENIED,
}

# Refinements where the words above are too coarse (reference-error-codes; the cause stands in its
# row there).
_BY_NUMBER: Mapping[int, Meaning] = {
    **dict.fromkeys(
        (50013, 500133, 50027, 240002, 50057, 50053, 50055, 50144), Meaning.CALLER_TOKEN
    ),
    **dict.fromkeys(
        (50173, 50132, 50133, 50089, 70043, 70008, 700082, 700084), Meaning.CALLER_TOKEN
    ),
    **dict.fromkeys((50076, 50079, 50072, 50074, 50078, 50158, 50097, 700020), Meaning.CHALLENGE),
    **dict.fromkeys((50129, 50131, 50005, 50020, 50034, 51004, 50014, 50105), Meaning.DENIED),
    # Dead ends, though Entra words them like a token that has ended: a new sign-in does not help.
    **dict.fromkeys((500341, 500571, 90072, 50177, 50178, 135011, 700003), Meaning.DENIED),
    **dict.fromkeys((5000224, 5000225, 500212, 500213), Meaning.DENIED),
    **dict.fromkeys((50002, 500021, 500022, 5000211, 1000104, 54000, 90093), Meaning.DENIED),
    **dict.fromkeys((65001, 65004, 90094, 90095), Meaning.CONSENT),
    **dict.fromkeys((7000113, 7000114), Meaning.APP_ONLY),
    **dict.fromkeys(
        (500131, 65005, 500011, 500014, 50001, 50146, 501461, 9002313), Meaning.OUR_SETUP
    ),
    **dict.fromkeys((700229, 70011, 28002, 700022, 700023, 90009, 90008), Meaning.OUR_SETUP),
    **dict.fromkeys(
        (90002, 50059, 900382, 900432, 90038, 50194, 9001023, 900144), Meaning.OUR_SETUP
    ),
    **dict.fromkeys((700016, 700011, 70001, 7000112, 7000229, 90099), Meaning.NOT_ONBOARDED),
    **dict.fromkeys((7000215, 70002, 7000222, 7000218), Meaning.OUR_CREDENTIAL),
    **dict.fromkeys(
        (700027, 7000274, 700024, 7000214, 7000277, 1000502, 700030, 50012), Meaning.OUR_CREDENTIAL
    ),
    **dict.fromkeys((70021, 700211, 700212, 700213), Meaning.OUR_CREDENTIAL),
    **dict.fromkeys((50196,), Meaning.LOOP),
    **dict.fromkeys((90033, 90006, 90090, 90024, 90012, 50033, 50087, 90091), Meaning.TRANSIENT),
    **dict.fromkeys((90055,), Meaning.THROTTLED),
    **dict.fromkeys((90036, 90092, 50000), Meaning.BROKEN),
}
# Where a whole thousand of numbers means the same, by that thousand: Conditional Access with its
# devices and policies (530003 in azure-cli 29282), and what a registration asks for.
_BY_THOUSAND: Mapping[int, Meaning] = {
    53: Meaning.DENIED,
    530: Meaning.DENIED,
    650: Meaning.OUR_SETUP,
}


def read_refusal(
    status: int, body: Mapping[str, Any], *, retry_after_s: float | None, home_tenant: bool
) -> FacadeError:
    """Return the error that a refused token request stands for.

    ``body`` is the parsed JSON of Entra's answer, empty if it was none; ``retry_after_s`` in
    seconds, if the answer named one. ``home_tenant`` says whether the tenant is the one our app is
    registered in.
    """
    claims = read_claims(body.get("claims"))
    number = _number(body)
    upstream = UpstreamAnswer("entra", status, _code(body), word(body.get("trace_id")))
    meaning = _meaning(
        status,
        word(body.get("error")),
        word(body.get("suberror")),
        number,
        challenged=claims is not None,
    )
    if meaning is Meaning.OUR_CREDENTIAL and _named(number) is None and not home_tenant:
        # What one foreign tenant says must not stop everybody. Only a number that names the
        # credential may.
        meaning = Meaning.NOT_ONBOARDED
    elif meaning is Meaning.NOT_ONBOARDED and home_tenant:
        meaning = Meaning.OUR_SETUP
    return _error(meaning, upstream, claims, retry_after_s)


def describe_refusal(status: int, body: Mapping[str, Any]) -> str:
    """Return what may be logged of a refusal.

    These are its machine words, and the ids that Microsoft's support asks for.
    """
    words = {"status": str(status), "code": _code(body)}
    words |= {
        name: word(body.get(name)) for name in ("error", "suberror", "trace_id", "correlation_id")
    }
    return " ".join(f"{name}={said}" for name, said in words.items() if said is not None)


def _meaning(
    status: int, error: str | None, suberror: str | None, number: int | None, *, challenged: bool
) -> Meaning:
    if status == 429:
        return Meaning.THROTTLED
    if challenged and error in _ASKS_A_PERSON:
        return Meaning.CHALLENGE
    named = _named(number)
    if named is not None:
        return named
    if error in _ASKS_A_PERSON and suberror is not None and suberror in _BY_SUBERROR:
        return _BY_SUBERROR[suberror]
    if status == 408 or status >= 500:  # MSAL.NET 3661: whatever its word
        return Meaning.TRANSIENT
    return _BY_ERROR.get(error or "", Meaning.BROKEN)


def _named(number: int | None) -> Meaning | None:
    """Return what an AADSTS number means, if it is known."""
    return _BY_NUMBER.get(number or 0) or _BY_THOUSAND.get((number or 0) // 1000)


# The meanings whose error needs no more than its sentence.
_SENTENCES: Mapping[Meaning, tuple[type[FacadeError], str]] = {
    Meaning.CALLER_TOKEN: (
        TokenRejected,
        "Entra no longer accepts this token: sign in again and send a new one.",
    ),
    Meaning.CONSENT: (
        ConsentRequired,
        (
            "Nobody has given consent yet for this service to cancel appointments for this user; "
            "an administrator can."
        ),
    ),
    Meaning.DENIED: (
        AccessDenied,
        "A policy of the directory does not let this user in; an administrator can find out why.",
    ),
    Meaning.APP_ONLY: (
        UserTokenRequired,
        "The token stands for an application; this route acts for a signed-in user.",
    ),
    Meaning.OUR_CREDENTIAL: (
        CredentialRefused,
        "Entra does not accept this service's own credential.",
    ),
    Meaning.OUR_SETUP: (
        Misconfigured,
        "Entra does not accept this service's registration or permissions.",
    ),
    Meaning.NOT_ONBOARDED: (
        ConsentRequired,
        (
            "This service is not set up in the user's tenant; an administrator there has to "
            "consent first."
        ),
    ),
    Meaning.BROKEN: (UpstreamBroken, "Entra gave an answer that cannot be used."),
}


def _error(
    meaning: Meaning, upstream: UpstreamAnswer, claims: str | None, retry_after_s: float | None
) -> FacadeError:
    match meaning:
        case Meaning.CHALLENGE:
            return InteractionRequired(
                "Entra asks this user for more than the token proves, for example multi-factor "
                "authentication.",
                claims=claims,
                upstream=upstream,
            )
        case Meaning.THROTTLED:
            slow_down = AskedToSlowDown if retry_after_s else Throttled
            return slow_down(
                "Entra asks for fewer requests.",
                retry_after_s=retry_after_s or _DEFAULT_WAIT_S,
                upstream=upstream,
            )
        case Meaning.LOOP:
            return Throttled(
                "Entra has seen too many identical requests.",
                retry_after_s=retry_after_s or _LOOP_WAIT_S,
                upstream=upstream,
            )
        case Meaning.TRANSIENT:
            kind = AskedToWait if retry_after_s else UpstreamUnavailable
            return kind(
                "Entra cannot answer at the moment.",
                retry_after_s=retry_after_s or _DEFAULT_WAIT_S,
                upstream=upstream,
            )
        case _:
            cause, reason = _SENTENCES[meaning]
            return cause(reason, upstream=upstream)


def _number(body: Mapping[str, Any]) -> int | None:
    """Return the AADSTS number: of several the first that the table knows."""
    listed = body.get("error_codes")
    numbers = [
        number
        for number in (listed if isinstance(listed, list) else [])
        if type(number) is int and 0 < number < 10**9
    ]
    return next(filter(_named, numbers), next(iter(numbers), None))


def _code(body: Mapping[str, Any]) -> str | None:
    """Return the code to quote to a person: the AADSTS number, else the word of the standard."""
    number = _number(body)
    return f"AADSTS{number}" if number is not None else word(body.get("error"))
