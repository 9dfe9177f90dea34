"""Caller -> GraphToken: the OAuth 2.0 on-behalf-of exchange.

Owns when Entra is asked for a caller, and that what comes back belongs to who asked. Does *not*
validate callers (``caller.py``) or speak to Entra (``client.py``).
"""

import logging
from collections.abc import Callable

from shared.entra.client import EntraClient
from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.entra.graph_token import GraphToken
from shared.errors import TokenRejected, UpstreamAnswer, UpstreamBroken
from shared.identity.caller import Caller
from shared.telemetry.journal import tell
from shared.transport.deadline import Deadline

_log = logging.getLogger("facade.on_behalf_of")


class OnBehalfOf:
    """Exchanges validated callers for Graph tokens; one instance per worker, safe for all threads.

    ``now`` gives seconds since the epoch.
    """

    def __init__(
        self,
        entra: EntraClient,
        graph_scope: str,
        cache: ExchangeCache[GraphToken],
        now: Callable[[], float],
    ) -> None:
        self._entra = entra
        self._graph_scope = graph_scope
        self._cache = cache
        self._now = now

    def exchange(
        self,
        caller: Caller,
        deadline: Deadline,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        """Return a token for Graph that acts for the caller. See ``GraphTokens``.

        Errors: those of ``EntraClient.ask``; TokenRejected where the caller's token has ended.
        """
        return self._cache.get_or_exchange(
            caller.fingerprint,
            lambda: self._ask(caller, deadline, claims),
            wait_s=deadline.remaining_s(),
            refused=refused,
        )

    def _ask(self, caller: Caller, deadline: Deadline, claims: str | None) -> Fresh[GraphToken]:
        self._check_end(caller)
        fresh = self._entra.ask(
            caller.tenant_id,
            lambda app: app.acquire_token_on_behalf_of(
                caller.assertion, [self._graph_scope], claims_challenge=claims, deadline=deadline
            ),
            deadline,
        )
        _check_owner(fresh.value, caller)
        self._check_end(caller)
        return Fresh(fresh.value, min(fresh.ends_at, caller.expires_at))

    def _check_end(self, caller: Caller) -> None:
        if self._now() >= caller.expires_at:
            raise TokenRejected("The token has expired.")


def _check_owner(token: GraphToken, caller: Caller) -> None:
    if (token.object_id, token.tenant_id) != (caller.object_id, caller.tenant_id):
        tell(_log, logging.ERROR, "exchange_identity_mismatch", "tenant=%s", caller.tenant_id)
        raise UpstreamBroken(
            "Entra answered with a token for somebody else; it was thrown away.",
            upstream=UpstreamAnswer("entra", 200),
        )
