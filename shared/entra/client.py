"""This service as a confidential client of Entra ID, through MSAL without its shared state.

Owns one application per tenant, the one credential of a worker, the patience of a token request,
and what makes an answer usable. Does *not* know for whom a token is asked (``on_behalf_of.py``,
``app_only.py``), keep tokens, or read refusals (``refusals.py``).
"""

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import msal

from shared.entra.credentials import Credential, CredentialInUse
from shared.entra.exchange_cache import Fresh
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraHttp
from shared.entra.refusals import (
    ABOUT_THE_CALLER,
    AskedToSlowDown,
    AskedToWait,
    CredentialRefused,
)
from shared.errors import (
    FacadeError,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.telemetry.journal import tell
from shared.transport.deadline import Deadline
from shared.transport.retry_after import backoff_s
from shared.transport.waiting import Waiting

_log = logging.getLogger("facade.entra_client")
_SKEW_S = 300.0
_LONGEST_LIFE_S = 86_400.0 * 2
_RETRY_NEEDS_S = 3.0
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1

type Request = Callable[[Any], Mapping[str, Any]]
"""One call of a method of MSAL's ConfidentialClientApplication; it has to hand ``deadline`` on to
``EntraHttp``. MSAL ships no types.
"""


class _NoTokenCache(msal.TokenCache):  # type: ignore[misc]  # msal ships no types
    """Keeps nothing.

    Every exchange writes MSAL's cache, and none reads it. It has no bound, and its keys do not hold
    the assertion.
    """

    def add(self, event: Any, now: Any = None) -> None:
        """Forget."""


class _NoHttpCache(dict[Any, Any]):
    """Keeps nothing.

    The keys of MSAL's HTTP throttle do not hold the assertion, so one user's answer, even a token,
    would be handed to another.
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget."""


class EntraClient:
    """Asks Entra for tokens; one instance per worker, safe for all threads.

    ``authority_host`` is e.g. ``https://login.microsoftonline.com``.
    """

    def __init__(
        self,
        client_id: str,
        authority_host: str,
        load_credential: Callable[[], Credential],
        http: EntraHttp,
        waiting: Waiting,
    ) -> None:
        self._client_id = client_id
        self._authority_host = authority_host
        self._credential = CredentialInUse(load_credential, waiting.now)
        self._http = http
        self._waiting = waiting

    def ask(self, tenant_id: str, request: Request, deadline: Deadline) -> Fresh[GraphToken]:
        """Ask with the credential in use.

        The token's end (epoch seconds) counts from when it was asked for, less a margin. Whom it
        acts for is read from the ID token that came with it.

        Where the credential is refused and has changed meanwhile, ask once more with the new one.
        Errors: what ``read_refusal`` names; UpstreamUnavailable, UpstreamBroken; Misconfigured.
        """
        asked_at = self._waiting.now()
        credential = self._credential.take()
        try:
            answer = self._ask_patiently(credential, tenant_id, request, deadline)
        except CredentialRefused as refusal:
            changed = self._credential.refused(credential, refusal)
            try:
                answer = self._ask_patiently(changed, tenant_id, request, deadline)
            except CredentialRefused as again:
                self._credential.refused(changed, again)
                raise
        return _read(answer, tenant_id, asked_at)

    def warm(self, tenant_id: str) -> None:
        """Read the credential and build MSAL's application before they are needed.

        It raises nothing, and asks nobody (see ``EntraHttp.get``).
        """
        with contextlib.suppress(Exception):  # met again, and answered, by the request in need
            self._app(self._credential.take(), tenant_id)

    def _ask_patiently(
        self, credential: Credential, tenant_id: str, request: Request, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Ask once, and once more where Entra was unreachable, in passing trouble or too busy.

        A token request changes nothing, so a repeat is safe. A wait that Entra asks for is kept; if
        it does not fit into the deadline, there is no repeat.
        """
        try:
            return self._ask_once(credential, tenant_id, request)
        except (AskedToSlowDown, UpstreamUnavailable) as error:
            pause_s = backoff_s(1, self._waiting.random)
            if isinstance(error, AskedToSlowDown | AskedToWait):
                pause_s = error.retry_after_s
            if deadline.remaining_s() < pause_s + _RETRY_NEEDS_S:
                raise
            self._waiting.sleep(pause_s)
            return self._ask_once(credential, tenant_id, request)

    def _ask_once(
        self, credential: Credential, tenant_id: str, request: Request
    ) -> Mapping[str, Any]:
        try:
            answer = request(self._app(credential, tenant_id))
        except FacadeError as error:
            if isinstance(error, ABOUT_THE_CALLER):  # so Entra has let us in
                self._credential.accepted(credential)
            raise
        # MSAL raises IndexError, ValueError, RuntimeError and more on answers it did not expect.
        except Exception as error:
            tell(
                _log,
                logging.WARNING,
                "exchange_unreadable",
                "tenant=%s error=%s",
                tenant_id,
                type(error).__name__,
            )
            raise UpstreamBroken(
                "Entra gave an answer that cannot be used.", upstream=UpstreamAnswer("entra")
            ) from error
        self._credential.accepted(credential)
        return answer

    def _app(self, credential: Credential, tenant_id: str) -> msal.ConfidentialClientApplication:
        """Return MSAL's application for the tenant of a caller's token.

        Guests are exchanged in the tenant where they are guests (MSAL.NET, on-behalf-of flow).
        Building one costs no call (``EntraHttp.get``), so threads may build the same one at once.
        Tenants are on an allow-list, so there are few.
        """
        known = credential.apps.get(tenant_id)
        if known is not None:
            return known
        built = msal.ConfidentialClientApplication(
            self._client_id,
            client_credential=credential.for_msal,
            authority=f"{self._authority_host}/{tenant_id}",
            instance_discovery=False,  # the authority is a setting, not user input
            azure_region=False,
            client_capabilities=["CP1"],
            exclude_scopes=["offline_access"],
            token_cache=_NoTokenCache(),
            http_cache=_NoHttpCache(),
            http_client=self._http,
        )
        return credential.apps.setdefault(tenant_id, built)


def _read(answer: Mapping[str, Any], tenant_id: str, asked_at: float) -> Fresh[GraphToken]:
    """Take the token out of Entra's answer, if it is one.

    ``asked_at`` (epoch seconds) is when its life began at the earliest.
    """
    value, lifetime_s = answer.get("access_token"), _lifetime_s(answer.get("expires_in"))
    is_bearer = str(answer.get("token_type")).lower() == "bearer"
    if (
        not is_bearer
        or not isinstance(value, str)
        or not _BEARER_TOKEN.fullmatch(value)
        or lifetime_s is None
    ):
        raise UpstreamBroken(
            "Entra answered without a usable token.", upstream=UpstreamAnswer("entra", 200)
        )
    token = GraphToken(None, tenant_id, value)
    claims = answer.get("id_token_claims")
    if isinstance(claims, dict):
        token = GraphToken(str(claims.get("oid")).lower(), str(claims.get("tid")).lower(), value)
    return Fresh(token, asked_at + lifetime_s - min(_SKEW_S, lifetime_s / 10))


def _lifetime_s(value: object) -> float | None:
    """Return ``expires_in`` in seconds, or None where it is no positive whole number.

    RFC 6749 section 5.1; some of Entra's endpoints write it as text.
    """
    digits = str(value) if isinstance(value, int | str) else ""  # of a truth value, no digits
    if not re.fullmatch(r"[0-9]{1,12}", digits) or not int(digits):
        return None
    return min(float(digits), _LONGEST_LIFE_S)
