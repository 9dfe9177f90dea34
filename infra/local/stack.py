"""The upstreams together: simulators of Entra ID and Graph over TLS.

Owns the settings with which the Function App reaches them.
"""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local import seed
from infra.local.entra.simulator import EntraSimulator
from infra.local.graph.simulator import GraphSimulator
from infra.local.server import LocalServer
from infra.local.tls import LocalAuthority


class LocalStack:
    """Running simulators; use as a context manager.

    Port 0 takes a free one. Errors: OSError when a port is busy. ``bundle`` is where to write the
    certificate of the stack's own authority (PEM); None means a temporary file.
    """

    def __init__(
        self, *, entra_port: int = 0, graph_port: int = 0, bundle: Path | None = None
    ) -> None:
        self.entra = EntraSimulator()
        self.graph = GraphSimulator(self.entra.verify_graph_token)
        self._ports = (entra_port, graph_port)
        self._bundle = bundle
        self._running = ExitStack()
        self.bundle = Path()
        self.entra_url = ""
        self.graph_url = ""

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            authority = LocalAuthority()
            folder = Path(
                starting.enter_context(tempfile.TemporaryDirectory(prefix="local-stack-"))
            )
            bundle = self._bundle or folder / "ca.pem"
            bundle.parent.mkdir(parents=True, exist_ok=True)
            self.bundle = authority.write_bundle(bundle)
            context = authority.server_context()
            self.entra_url = starting.enter_context(
                LocalServer(self.entra.app, port=self._ports[0], tls=context)
            ).url
            self.graph_url = starting.enter_context(
                LocalServer(self.graph.app, port=self._ports[1], tls=context)
            ).url
            self.entra.base_url = self.entra_url
            self._running = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a Function App that uses this stack."""
        return {
            "TENANT_ID": seed.TENANT_ID,
            "CLIENT_ID": seed.API_CLIENT_ID,
            "CLIENT_SECRET": seed.API_CLIENT_SECRET,
            "ENTRA_AUTHORITY_HOST": self.entra_url,
            "GRAPH_ENDPOINT": self.graph_url,
            "CA_BUNDLE": str(self.bundle),
            "PYDANTIC_DISABLE_PLUGINS": "__all__",  # as deployed (infra/modules/app.bicep)
        }

    @property
    def environment_with_webhooks(self) -> dict[str, str]:
        """The same with webhooks on: the seeded key may cancel for the first business."""
        key = {
            "id": seed.WEBHOOK_KEY_ID,
            "secrets": [seed.WEBHOOK_SECRET],
            "businesses": [seed.LUNCH_DELIVERY],
        }
        return {**self.environment, "WEBHOOK_KEYS": json.dumps([key])}

    def reset(self) -> None:
        """Return to the seeded state between tests; the keys stay."""
        self.entra.reset()
        self.entra.clear_received()
        self.entra.faults.clear()
        self.graph.reset()
        self.graph.clear_received()
        self.graph.faults.clear()
