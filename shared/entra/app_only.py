"""WebhookSender -> GraphToken: the service acts as itself (OAuth 2.0 client credentials).

Owns that one token serves every delivery until it ends, and what Entra's refusals mean when there
is no user who could sign in. It is never a fallback: it takes no caller, and whatever acts for
users does not know it.
"""

from shared.entra.client import EntraClient
from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.entra.graph_token import GraphToken
from shared.entra.refusals import ABOUT_THE_CALLER
from shared.errors import Misconfigured
from shared.identity.webhooks import WebhookSender
from shared.transport.deadline import Deadline

_THE_ONE = b"app-only"


class AppOnly:
    """Gives app-only tokens of the home tenant; one instance per worker, safe for all threads.

    ``graph_scope`` ends in ``/.default``.
    """

    def __init__(
        self, entra: EntraClient, tenant_id: str, graph_scope: str, cache: ExchangeCache[GraphToken]
    ) -> None:
        self._entra = entra
        self._tenant_id = tenant_id
        self._graph_scope = graph_scope
        self._cache = cache

    def exchange(
        self,
        _sender: WebhookSender,
        deadline: Deadline,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        """Return a token for Graph that acts for this application. See ``GraphTokens``.

        Errors: Misconfigured, Throttled, UpstreamUnavailable, UpstreamBroken.
        """
        try:
            return self._cache.get_or_exchange(
                _THE_ONE,
                lambda: self._ask(deadline, claims),
                wait_s=deadline.remaining_s(),
                refused=refused,
            )
        # No user is here, so what Entra asks of a user only an operator can do. It happens outside
        # the cache, because the cache keeps such refusals.
        except ABOUT_THE_CALLER as error:
            raise Misconfigured(
                "Entra does not let this service act as itself; an administrator can find out why.",
                upstream=error.upstream,
            ) from error

    def _ask(self, deadline: Deadline, claims: str | None) -> Fresh[GraphToken]:
        return self._entra.ask(
            self._tenant_id,
            lambda app: app.acquire_token_for_client(
                [self._graph_scope], claims_challenge=claims, deadline=deadline
            ),
            deadline,
        )
