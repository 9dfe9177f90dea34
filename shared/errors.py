"""Every way a request can end without an outcome: causes and their data.

Owns the names of the causes. Does *not* know HTTP statuses, wording for callers or logging:
``shared/serving/problems.py`` turns each class into an answer. ``reason`` is one sentence of our
own, safe to show and to log; text that came from a caller or an upstream never goes into it.
"""

import re
from dataclasses import dataclass
from typing import Literal

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """What an upstream said, reduced to what may be shown.

    That is its status, its stable error code, and the id to quote to its support.
    """

    service: Literal["entra", "graph"]
    status: int | None = None
    code: str | None = None
    request_id: str | None = None


def word(value: object) -> str | None:
    """Return a short machine word of an upstream's answer, or None where it is anything else.

    Prose never passes.
    """
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One fault of the request.

    ``field`` is the name of a member, parameter or header, or ``body``. Where it is not ``known``,
    it is the caller's own text, and is kept out of the log.
    """

    field: str
    message: str
    known: bool = True


class FacadeError(Exception):
    """The base of every expected failure."""

    def __init__(self, reason: str, *, upstream: UpstreamAnswer | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.upstream = upstream


class Later(FacadeError):
    """The base of errors that a repeat may get past. ``retry_after_s`` says when, in seconds."""

    def __init__(
        self, reason: str, *, retry_after_s: float = 5.0, upstream: UpstreamAnswer | None = None
    ) -> None:
        super().__init__(reason, upstream=upstream)
        self.retry_after_s = retry_after_s


# The request itself.


class RequestInvalid(FacadeError):
    """The body or a header is at fault, or Graph calls an id malformed."""

    def __init__(
        self,
        reason: str,
        *,
        faults: tuple[FieldFault, ...] = (),
        upstream: UpstreamAnswer | None = None,
    ) -> None:
        super().__init__(reason, upstream=upstream)
        self.faults = faults

    @property
    def fields(self) -> str | None:
        """The names of what is at fault, for the log; ``unknown`` for a caller's own."""
        names = (fault.field if fault.known else "unknown" for fault in self.faults)
        return ",".join(dict.fromkeys(names)) or None


class AuthorizationMalformed(RequestInvalid):
    """More than one set of credentials came, so nobody can say which one counts.

    RFC 6750 section 3.1, invalid_request.
    """


class BodyTooLarge(FacadeError):
    """The body is larger than any cancel request can be."""


class MediaTypeUnsupported(FacadeError):
    """The body is not declared as JSON in UTF-8."""


# Who is asking.


class TokenMissing(FacadeError):
    """No bearer token came."""


class TokenRejected(FacadeError):
    """A token came and does not prove a caller.

    Its signature, issuer, audience or time is wrong, or it was revoked since.
    """


class SignatureRefused(FacadeError):
    """A webhook came whose signature proves no sender.

    It is missing, malformed, out of its time, or made with another secret.
    """


class InteractionRequired(FacadeError):
    """Entra or Graph asks for more than this token proves.

    ``claims`` is the challenge as minified JSON, when one was given.
    """

    def __init__(
        self, reason: str, *, claims: str | None = None, upstream: UpstreamAnswer | None = None
    ) -> None:
        super().__init__(reason, upstream=upstream)
        self.claims = claims


class ScopeMissing(FacadeError):
    """The token is good and lacks our scope."""

    def __init__(self, reason: str, *, required_scope: str) -> None:
        super().__init__(reason)
        self.required_scope = required_scope


class UserTokenRequired(FacadeError):
    """The token stands for an application, and this route acts for a person."""


class CallerNotAllowed(FacadeError):
    """The tenant, the client application or the business is not on our list."""


class ConsentRequired(FacadeError):
    """Nobody has consented that this service calls Graph for the user."""


class WebhooksOff(FacadeError):
    """This service takes no webhooks: no key is set."""


# What Graph and Entra said.


class AccessDenied(FacadeError):
    """Graph says that this user may not do it."""


class RefusedByBookings(FacadeError):
    """Bookings does not allow this cancel by one of its rules, such as a minimum lead time."""


class BusinessNotFound(FacadeError):
    """Graph knows no such booking business, or does not show it to this user.

    Graph does not tell the two apart.
    """


class Throttled(Later):
    """An upstream asks us to wait for longer than the deadline allows."""


class UpstreamUnavailable(Later):
    """An upstream could not be reached, or could do nothing now; nothing was changed."""


class UpstreamBroken(FacadeError):
    """An upstream answered nothing usable; nothing was changed, or it stood when last looked at."""


class OutcomeUnknown(Later):
    """The cancel was sent, and nobody knows yet whether it took effect."""


# Redelivery and load.


class IdempotencyKeyReused(FacadeError):
    """The idempotency key came before, with another body."""


class RequestInProgress(Later):
    """The same request is being carried out right now."""


class Overloaded(Later):
    """We have more work than we can finish in time."""

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)


# Ourselves.


class Misconfigured(FacadeError):
    """A setting, our credential or our consent set-up is wrong; an operator has to act."""
