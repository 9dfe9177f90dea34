"""How a request at ``/oauth2/v2.0/authorize`` is read and answered.

Owns the redirect URIs: those registered for single-page applications, and the one that every
program on a desk may use, ``http://localhost`` with any port (Microsoft's "Redirect URI
restrictions", localhost exceptions). Does *not* grant anything.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode, urlsplit

from infra.local import seed
from infra.local.entra.errors import Refused
from infra.local.entra.sign_in.asked import is_challenge, read_claims, read_scope

Platform = Literal["page", "desk"]
_MODES = ("query", "fragment", "form_post")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class WayBack:
    """How an answer gets to the client: in the address, or as a form that the browser posts."""

    redirect_uri: str
    mode: str
    state: str

    def members(self, **answer: str) -> dict[str, str]:
        """Return what is sent back."""
        return {**answer, **({"state": self.state} if self.state else {})}

    def address(self, **answer: str) -> str:
        """Return the address that the browser is sent to, unless it posts a form."""
        members = self.members(**answer)
        if not members:
            return self.redirect_uri
        separator = (
            "#" if self.mode == "fragment" else "&" if urlsplit(self.redirect_uri).query else "?"
        )
        return f"{self.redirect_uri}{separator}{urlencode(members)}"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request for a code that may be granted.

    ``claims`` is what it asks of the token, as JSON. ``login_hint`` is the person the client
    expects.
    """

    tenant_id: str
    client_id: str
    platform: Platform
    back: WayBack = field(repr=False)
    scope: str
    code_challenge: str
    nonce: str
    claims: str
    login_hint: str

    @property
    def is_challenge(self) -> bool:
        """Whether the request asks for more than a password."""
        return is_challenge(read_claims(self.claims))


class ReturnedToClient(Exception):
    """The request is refused, and its client learns so by ``back``."""

    def __init__(self, refused: Refused, back: WayBack) -> None:
        super().__init__(refused.code)
        self.refused = refused
        self.back = back


class RedirectUris:
    """Where answers may go; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_pages: set[str] = set()

    def register(self, redirect_uri: str) -> None:
        """Accept this redirect URI of the partner's single-page application."""
        with self._lock:
            self._of_pages.add(redirect_uri)

    def platform_of(self, redirect_uri: str) -> Platform | None:
        """Return what kind of client has this address; None where no answer may go."""
        with self._lock:
            if redirect_uri in self._of_pages:
                return "page"
        return "desk" if _is_localhost(redirect_uri) else None

    def knows_origin(self, origin: str | None) -> bool:
        """Say whether pages of this origin may redeem codes here."""
        with self._lock:
            return origin in {origin_of(uri) for uri in self._of_pages}


def read_request(
    tenant_id: str, query: Mapping[str, str], uris: RedirectUris, graph_audience: str
) -> AuthorizationRequest:
    """Read a request for a code.

    Errors: Refused while it is not certain where the answer may go, ReturnedToClient after that.
    """
    check_client(tenant_id, query)
    redirect_uri, mode = query.get("redirect_uri", ""), query.get("response_mode") or "query"
    platform = uris.platform_of(redirect_uri)
    if platform is None:
        raise Refused(
            50011,
            (
                f"The redirect URI '{redirect_uri}' specified in the request does not match the "
                f"redirect URIs configured for the application '{query['client_id']}'."
            ),
        )
    back = WayBack(redirect_uri, mode, query.get("state", ""))
    try:
        _check(query, platform, mode, graph_audience)
    except Refused as refused:
        raise ReturnedToClient(refused, back) from refused
    return AuthorizationRequest(
        tenant_id=tenant_id,
        client_id=seed.PARTNER_CLIENT_ID,
        platform=platform,
        back=back,
        scope=query["scope"],
        code_challenge=query.get("code_challenge", ""),
        nonce=query.get("nonce", ""),
        claims=query.get("claims", ""),
        login_hint=query.get("login_hint", ""),
    )


def check_client(tenant_id: str, sent: Mapping[str, str]) -> None:
    """Check that it is the partner's client, which alone signs people in. Errors: Refused."""
    client_id = sent.get("client_id", "")
    if not client_id:
        raise Refused(900144, "The request body must contain the following parameter: 'client_id'.")
    if client_id.lower() != seed.PARTNER_CLIENT_ID:
        raise Refused(
            700016,
            (
                f"Application with identifier '{client_id}' was not found in the directory "
                f"'{tenant_id}'."
            ),
        )


def origin_of(address: str) -> str:
    """Return the origin of an address, as a browser names it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _check(query: Mapping[str, str], platform: Platform, mode: str, graph_audience: str) -> None:
    if (wanted := query.get("response_type", "")) != "code":
        raise Refused(700054, f"The response_type '{wanted}' is not enabled for the application.")
    if mode not in _MODES:
        raise Refused(
            9002313, f"Invalid request. The response_mode '{mode}' is not supported here."
        )
    challenge = query.get("code_challenge", "")
    if not challenge and platform == "page":
        raise Refused(9002325)
    if challenge and not (
        query.get("code_challenge_method") == "S256" and _CHALLENGE.fullmatch(challenge)
    ):
        raise Refused(
            9002313,
            (
                "Invalid request. The code_challenge must be the base64url of a SHA-256, and "
                "code_challenge_method 'S256'."
            ),
        )
    read_scope(query.get("scope", ""), graph_audience)
    read_claims(query.get("claims", ""))
    if query.get("prompt") == "none":
        raise Refused(50058)


def _is_localhost(redirect_uri: str) -> bool:
    """Tell whether it is ``http://localhost``, with any port and nothing behind it."""
    return re.fullmatch(r"http://localhost(:[0-9]{1,5})?/?", redirect_uri) is not None
