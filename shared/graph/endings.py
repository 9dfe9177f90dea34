"""What an answer of Graph says, and the four ways in which an exchange with it can end. Pure.

Owns the reading of statuses, forms and error codes; never reads Graph's messages, whose wording
changes. Does *not* know appointments, nor what to do next.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import word
from shared.identity.claims_challenge import read_claims

_CLAIMS = re.compile(r'\bclaims[ \t]*=[ \t]*"([A-Za-z0-9+/=_-]{1,8192})"', re.IGNORECASE)
_CHALLENGE = re.compile(r"(^|,)\s*bearer\b", re.IGNORECASE)
_MAX_CODES = 5

# Graph and the Exchange store behind it name "not there, or not visible to you" in several ways.
_ITEM_CODES = frozenset({"ErrorItemNotFound", "ItemNotFound", "itemNotFound"})
# A calendar the user is no member of, a wrong business id (microsoft-graph-docs 9850 and 14841), an
# address that stands for nobody (7909 there), or that no mailbox can have.
_BUSINESS_CODES = frozenset(
    {
        "ErrorFolderNotFound",
        "ErrorInvalidMailbox",
        "ErrorInvalidSmtpAddress",
        "ErrorInvalidUser",
        "ErrorInvalidUserPrincipalName",
        "ErrorNonExistentMailbox",
    }
)
# A mailbox that is moved, unlicensed or only now not found (docs-contrib 4340, explorer-v4 3143).
_MAILBOX_CODES = frozenset(
    {
        "MailboxInfoStale",
        "MailboxNotEnabledForRESTAPI",
        "MailboxNotSupportedForRESTAPI",
        "ResourceNotFound",
    }
)
# What Exchange says of an id that no appointment can have.
_MALFORMED_CODES = frozenset(
    {
        "ErrorCannotUseFolderIdForItemId",
        "ErrorInvalidId",
        "ErrorInvalidIdEmpty",
        "ErrorInvalidIdMalformed",
        "ErrorInvalidIdMalformedEwsLegacyIdFormat",
        "ErrorInvalidIdMonikerTooLong",
        "ErrorInvalidIdNotAnItemAttachmentId",
        "ErrorInvalidIdReturnedByResolveNames",
        "ErrorInvalidIdStoreObjectIdTooLong",
        "ErrorInvalidIdTooManyAttachmentLevels",
        "ErrorInvalidIdXml",
        "ErrorInvalidMailboxItemId",
    }
)
_PARSE_CODES = frozenset({"RequestBroker--ParseUri"})  # the path, split where no segment ends
# The mailbox is full, or has sent what it may (with 403, and with 400: OfficeDocs-O365Service-
# Descriptions 69). The last one blocks it for a while.
_MAIL_LIMIT_CODES = frozenset(
    {
        "ErrorExceededHourlyMessageLimit",
        "ErrorExceededMaxRecipientLimit",
        "ErrorExceededMessageLimit",
        "ErrorQuotaExceeded",
        "ErrorSubmissionQuotaExceeded",
        "ErrorMessageSubmissionBlocked",
    }
)
_KNOWN_CODES = (
    _ITEM_CODES
    | _BUSINESS_CODES
    | _MAILBOX_CODES
    | _MALFORMED_CODES
    | _PARSE_CODES
    | _MAIL_LIMIT_CODES
)
_CODES_OF_A_404 = {400: _ITEM_CODES | _BUSINESS_CODES | _MAILBOX_CODES, 403: _MAILBOX_CODES}
_FINAL = frozenset({400, 401, 403, 405, 411, 413, 414, 415, 431})  # in Graph's own form
_UNREADABLE = object()


class Body(StrEnum):
    """What an answer's body is."""

    FITTING = "fitting"  # Graph's own form: nothing with a 204, an object with another success,
    # an `error` object with an error, or with a bare 401 a Bearer challenge
    NOTHING = "nothing"  # none, where Graph sends one
    JSON = "json"  # JSON, and not what Graph sends with such a status
    PAGE = "page"  # anything else: HTML of a gateway, cut off, too large


class Gone(StrEnum):
    """What a not-found answer says is not there, or not visible to whoever asks."""

    ITEM = "item"
    BUSINESS = "business"
    NOTHING = "nothing"  # it proves nothing: a code of the mailbox, an unknown one, another form


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """An HTTP answer, reduced to what decides.

    ``codes`` are Graph's error codes, outermost first; ``retry_after`` is the header as it came;
    ``claims`` a claims challenge as minified JSON; ``resource`` the JSON object of a success.
    """

    status: int
    body: Body = Body.FITTING
    codes: tuple[str, ...] = ()
    request_id: str | None = None
    retry_after: str | None = None
    claims: str | None = None
    resource: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def code(self) -> str | None:
        """The code to quote to a person: the outermost."""
        return self.codes[0] if self.codes else None

    @property
    def deciding_code(self) -> str | None:
        """The deepest code that is known here; else the outermost."""
        known = [code for code in self.codes if code in _KNOWN_CODES]
        return known[-1] if known else self.code


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No HTTP answer, or one to another request.

    ``sent`` is False only when it is certain that no byte of the request left; ``cause`` is the
    name of what happened.
    """

    sent: bool
    cause: str


type Seen = GraphAnswer | NoAnswer


def read_answer(status: int, headers: Mapping[str, str], raw: bytes, *, whole: bool) -> GraphAnswer:
    """Return what an answer says.

    ``headers`` have lower-case names. ``whole`` is False where the body is larger than what was
    read of it.
    """
    parsed = _parse(raw) if raw and whole else _UNREADABLE
    error = parsed.get("error") if isinstance(parsed, dict) else None
    claims = _claims(headers.get("www-authenticate", "")) if status in (401, 403) else None
    return GraphAnswer(
        status,
        _body(status, headers, raw, parsed, challenged=claims is not None),
        codes=tuple(_codes(error)),
        request_id=word(headers.get("request-id")),
        retry_after=headers.get("retry-after"),
        claims=claims,
        resource=parsed if status == 200 and isinstance(parsed, dict) else None,
    )


def _body(
    status: int, headers: Mapping[str, str], raw: bytes, parsed: object, *, challenged: bool
) -> Body:
    if status == 204:
        nothing = not raw and headers.get("content-length", "0") == "0"
        return Body.FITTING if nothing else Body.PAGE
    if not raw:  # the words of RFC 6750 need no body
        bearer = _CHALLENGE.search(headers.get("www-authenticate", ""))
        return Body.FITTING if challenged or (status == 401 and bearer) else Body.NOTHING
    if parsed is _UNREADABLE:
        return Body.PAGE
    promised = isinstance(parsed, dict) and (status < 400 or isinstance(parsed.get("error"), dict))
    return Body.FITTING if promised else Body.JSON


def _parse(raw: bytes) -> object:
    """Return the JSON of a body, or ``_UNREADABLE``."""
    parsed: object = _UNREADABLE
    with contextlib.suppress(ValueError, RecursionError):
        parsed = json.loads(raw.decode("utf-8-sig"))
    return parsed


def _codes(level: object) -> Iterator[str]:
    """Return the error codes from the outside in.

    Microsoft's documentation spells innererror, the wire innerError. A code may be empty or absent.
    One that is no word of Graph's counts as the code ``other``.
    """
    for _ in range(_MAX_CODES):
        if not isinstance(level, dict):
            return
        code = level.get("code")
        if code is not None and code != "":
            yield word(code) or "other"
        level = level.get("innerError", level.get("innererror"))


def _claims(header: str) -> str | None:
    """Return the claims challenge of a WWW-Authenticate header as minified JSON.

    It comes in base64, and its padding may be missing.
    """
    found = _CLAIMS.search(header)
    if not found:
        return None
    encoded = found[1].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return read_claims(base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8"))
    except (binascii.Error, ValueError):
        return None


class Ending(StrEnum):
    """How an exchange ended, which alone decides whether it may be repeated."""

    ANSWERED = "answered"  # final: never repeat
    REFUSED = "refused"  # throttled: repeat after the wait that was asked for
    NOT_SENT = "not_sent"  # repeat with backoff
    UNANSWERED = "unanswered"  # may have taken effect: repeat only after a look


def ending(seen: Seen, *, success: int) -> Ending:
    """Tell how an exchange ended.

    ``success`` is the one status that means success: 204 for an action, 200 for a read. Only what
    Graph itself says of the request is final. Any other 2xx, a redirect, a 5xx, a 408, a conflict,
    and a refusal in another form than Graph's leave open what happened: Bookings has been seen to
    answer 500 to bad input, and gateways to answer 504 to mail that was sent.
    """
    if isinstance(seen, NoAnswer):
        return Ending.UNANSWERED if seen.sent else Ending.NOT_SENT
    if seen.status == 429:
        return Ending.REFUSED
    gone = what_is_gone(seen)
    if gone is not None:
        return Ending.UNANSWERED if gone is Gone.NOTHING else Ending.ANSWERED
    final = seen.status == success or (seen.status in _FINAL and not reached_mail_limit(seen))
    return Ending.ANSWERED if final and seen.body is Body.FITTING else Ending.UNANSWERED


def what_is_gone(answer: GraphAnswer) -> Gone | None:
    """Tell what is not there by this answer; None where it does not speak of that.

    An ``error`` without a code counts as bare (Bookings' own errors carry empty codes), and a bare
    404 is the item's. A 400 with the code of a 404 is one; so is a 403 with a code of the mailbox:
    no right is missing.
    """
    code = answer.deciding_code
    coded = code in _CODES_OF_A_404.get(answer.status, ())
    if answer.status not in (404, 410) and not coded:
        return None
    if code in _BUSINESS_CODES:
        return Gone.BUSINESS
    bare = code is None and answer.body in (Body.FITTING, Body.NOTHING)
    return Gone.ITEM if bare or code in _ITEM_CODES else Gone.NOTHING


def says_malformed(answer: GraphAnswer) -> bool:
    """Tell whether Graph calls an id malformed: such a request cannot have changed anything."""
    return answer.status == 400 and answer.deciding_code in _MALFORMED_CODES


def cannot_parse_path(answer: GraphAnswer) -> bool:
    """Tell whether Graph says outright that it found no meaning in the path.

    It splits a path at %2F, too (microsoft-graph-docs 3598 and 15204, explorer-v4 4029).
    """
    return answer.status == 400 and answer.deciding_code in _PARSE_CODES


def may_refuse_path(answer: GraphAnswer) -> bool:
    """Tell whether Graph says so in the generic way, in which Bookings says other things, too."""
    return answer.status == 400 and answer.deciding_code == "BadRequest"


def reached_mail_limit(answer: GraphAnswer) -> bool:
    """Tell whether the mailbox may send no more mail for now.

    No right is missing then, and no rule of Bookings is broken.
    """
    return answer.status in (400, 403) and answer.deciding_code in _MAIL_LIMIT_CODES
