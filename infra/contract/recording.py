"""Records real answers of the running service: one for every outcome and every problem's code.

Owns how to bring each answer about, and what replaces values that differ from run to run. The
service runs on the official runtime, with the simulators of Entra and Graph behind it. Does *not*
write files.
"""

import base64
import hmac
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack

REPOSITORY = Path(__file__).resolve().parents[2]
_PATIENCE_S = 60.0
_AUTHORITY = "https://login.microsoftonline.com"
_REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
_UPSTREAM_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
_CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
_SENT_HEADERS = (
    "Content-Type",
    "Idempotency-Key",
    "x-correlation-id",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)
_SHOWN_HEADERS = (
    "Content-Type",
    "Cache-Control",
    "Retry-After",
    "WWW-Authenticate",
    "x-correlation-id",
)
_CANCEL = "/api/v1/cancel-appointment"
_WEBHOOK = "/api/v1/webhooks/cancel-appointment"
_EXAMPLE = {
    "businessId": seed.LUNCH_DELIVERY,
    "appointmentId": seed.EXAMPLE_APPOINTMENT,
    "cancellationMessage": seed.EXAMPLE_MESSAGE,
}
_DELIVERY, _SIGNED_AT = "msg_2f7c", "1793000000"  # a moment of no day in particular
_CORRELATED = {"x-correlation-id": "flow-run-08dd3c8f"}
_UNREADABLE = Fault(step="get", status=403, times=None)


@dataclass(frozen=True)
class Recorded:
    """One exchange as readers see it.

    Ids of requests, tokens and addresses of this machine are replaced.
    """

    name: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]


@dataclass
class Service:
    """A running service and what stands behind it; remembers its recorded exchanges."""

    url: str
    stack: LocalStack
    recorded: list[Recorded] = field(default_factory=list)

    def send(
        self,
        method: str = "POST",
        path: str = _CANCEL,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = _EXAMPLE,
    ) -> requests.Response:
        """Send a request with Adele's token, or another; an empty ``token`` sends none."""
        token = self.stack.entra.user_token() if token is None else token
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        kind = {"Content-Type": "application/json"} if method == "POST" else {}
        content = body if isinstance(body, str) else json.dumps(body)
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                f"{self.url}{path}",
                data=content.encode() if method == "POST" else None,
                headers={**kind, **authorization, **(headers or {})},
                timeout=_PATIENCE_S,
                allow_redirects=False,
            )

    def record(self, name: str, answer: requests.Response) -> None:
        """Keep an exchange under a name, with fixed values for what differs from run to run."""
        sent = answer.request
        shown = {header: value for header, value in sent.headers.items() if header in _SENT_HEADERS}
        if "webhook-signature" in shown:
            shown |= {"webhook-timestamp": _SIGNED_AT, "webhook-signature": _signature(_SIGNED_AT)}
        if "Authorization" in sent.headers:
            shown["Authorization"] = "Bearer <a token for this API>"
        request: dict[str, Any] = {
            "method": sent.method,
            "path": sent.path_url,
            "headers": dict(sorted(shown.items())),
        }
        if sent.body:
            request["body"] = _body(sent.body)
        headers = {
            header: answer.headers[header].replace(self.stack.entra_url, _AUTHORITY)
            for header in _SHOWN_HEADERS
            if header in answer.headers
        }
        self.recorded.append(
            Recorded(
                name,
                request,
                {"status": answer.status_code, "headers": headers, "body": _normal(answer.json())},
            )
        )


def record_all() -> list[Recorded]:
    """Start what is needed, bring every answer about, and return the recorded exchanges."""
    with LocalStack() as stack:
        recorded = list[Recorded]()
        with _service(stack) as service:
            _successes(service)
            _problems(service)
            recorded += service.recorded
        for settings, bring_about in _WITH_A_SERVICE_OF_THEIR_OWN:
            stack.reset()
            environment = {
                name: value for name, value in {**stack.environment, **settings}.items() if value
            }
            with _service(stack, environment) as service:
                bring_about(service)
                recorded += service.recorded
        stack.reset()
        with _service(stack, stack.environment_with_webhooks) as service:
            _webhooks(service)
            recorded += service.recorded
        stack.reset()
        with _broken_app() as folder, _service(stack, stack.environment, folder) as service:
            service.record("internal_error", service.send())
            recorded += service.recorded
    return recorded


@contextmanager
def _service(
    stack: LocalStack, environment: Mapping[str, str] | None = None, folder: Path = REPOSITORY
) -> Iterator[Service]:
    with HostProcess(folder, stack.environment if environment is None else environment) as host:
        yield Service(host.url, stack)


# Answers of a service with the usual settings.


def _successes(service: Service) -> None:
    graph = service.stack.graph
    keyed = {"Idempotency-Key": "cancel-AAMkADKoAAA=-1", **_CORRELATED}
    service.record("cancelled", service.send(headers=keyed))
    service.record("cancelled_replayed", service.send(headers=keyed))
    graph.faults.add(Fault(step="cancel", drop=True), Fault(step="cancel", drop=True, when="after"))
    service.record(
        "cancelled_unconfirmed", service.send(body={**_EXAMPLE, "appointmentId": "AAMkADKnAAA="})
    )
    service.record(
        "not_found", service.send(body={**_EXAMPLE, "appointmentId": "AAMkADnosuchAAA="})
    )
    graph.reset()
    graph.faults.add(Fault(step="cancel", drop=True, when="after"))
    service.record(
        "not_found_unconfirmed",
        service.send(
            token=service.stack.entra.user_token(seed.MEGAN),
            body={"businessId": seed.REPAIRS, "appointmentId": "AAMkADrepair1="},
        ),
    )
    graph.reset()
    service.record(
        "not_found_business",
        service.send(body={**_EXAMPLE, "businessId": "nobody@M365B489948.onmicrosoft.com"}),
    )
    service.record(
        "businesses", service.send("GET", "/api/v1/businesses?query=lunch", headers=_CORRELATED)
    )
    span = "start=2027-05-01T00:00:00Z&end=2027-06-01T00:00:00Z"
    service.record(
        "appointments",
        service.send(
            "GET",
            f"/api/v1/businesses/{seed.LUNCH_DELIVERY}/appointments?{span}",
            headers=_CORRELATED,
        ),
    )
    service.record("health", service.send("GET", "/api/health", token=""))


def _problems(service: Service) -> None:
    stack = service.stack
    record = service.record
    record(
        "invalid_request",
        service.send(body={"businessId": seed.LUNCH_DELIVERY, "appointmentID": "AAMkADKoAAA="}),
    )
    record(
        "payload_too_large", service.send(body={**_EXAMPLE, "cancellationMessage": "x" * 70_000})
    )
    record("unsupported_media_type", service.send(headers={"Content-Type": "text/plain"}))
    record("missing_token", service.send(token=""))
    record("webhooks_not_enabled", service.send(path=_WEBHOOK, token=""))
    record("invalid_token", service.send(token=stack.entra.user_token(lifetime_s=-1)))
    record("insufficient_scope", service.send(token=stack.entra.user_token(scopes="User.Read")))
    record("user_token_required", service.send(token=stack.entra.app_token()))
    record(
        "caller_not_allowed",
        service.send(
            token=stack.entra.user_token(tenant_id="11111111-2222-4333-8444-555555555555")
        ),
    )
    with _arranged(stack, lambda: stack.entra.require_mfa(seed.MEGAN, _CLAIMS)):
        record("interaction_required", service.send(token=stack.entra.user_token(seed.MEGAN)))
    with _arranged(stack, lambda: stack.entra.revoke_consent(seed.MEGAN)):
        record("consent_required", service.send(token=stack.entra.user_token(seed.MEGAN)))
    record(
        "business_not_found",
        service.send("GET", "/api/v1/businesses/nobody@contoso.com/appointments"),
    )
    with _at_graph(
        stack, Fault(step="cancel", status=403, body=_graph_error("ErrorAccessDenied"), times=None)
    ):
        record("access_denied", service.send(body=_another("denied")))
    with _at_graph(stack, Fault(step="cancel", status=400, body=_graph_error(""), times=None)):
        record("refused_by_bookings", service.send(body=_another("late")))
    throttled = Fault(
        step="cancel",
        status=429,
        body=_graph_error("ApplicationThrottled"),
        headers={"Retry-After": "41"},
        times=None,
    )
    with _at_graph(stack, throttled):
        record("throttled", service.send(body=_another("throttled")))
    with _at_graph(
        stack, Fault(step="cancel", status=405, body=_graph_error("UnknownError"), times=None)
    ):
        record("upstream_error", service.send(body=_another("broken")))
    with _arranged(
        stack, lambda: stack.entra.faults.add(Fault(step="token", reset=True, times=None))
    ):
        record("upstream_unavailable", service.send(token=stack.entra.user_token(seed.LYNNE)))
    with _at_graph(stack, Fault(step="cancel", drop=True, times=None), _UNREADABLE):
        record("outcome_unknown", service.send(body=_another("unknown")))
    keyed = {"Idempotency-Key": "order-4711"}
    service.send(headers=keyed, body=_another("keyed"))
    record("idempotency_key_reused", service.send(headers=keyed, body=_another("other")))


# Answers of a service with settings of its own.


def _in_progress(service: Service) -> None:
    service.stack.graph.faults.add(Fault(step="cancel", delay_s=2.7))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(service.send)
        _until(lambda: bool(service.stack.graph.received))
        service.record("request_in_progress", service.send())
        first.result(_PATIENCE_S)


def _overloaded(service: Service) -> None:
    service.stack.graph.faults.add(Fault(step="cancel", delay_s=1.5, times=None))
    with ThreadPoolExecutor(4) as threads:
        # One is at Graph, and one waits for the mailbox. Two are too many for the mailbox, not for
        # the service.
        asked = [threads.submit(service.send) for _ in range(4)]
        refused = [
            answer
            for answer in (future.result(_PATIENCE_S) for future in asked)
            if answer.status_code == 503
        ]
    service.record("overloaded", refused[0])


def _webhooks(service: Service) -> None:
    delivery = {"webhook-id": _DELIVERY, "webhook-timestamp": _SIGNED_AT}
    service.record("invalid_signature", service.send(path=_WEBHOOK, token="", headers=delivery))
    now = str(int(time.time()))
    headers = {
        **_CORRELATED,
        **delivery,
        "webhook-timestamp": now,
        "webhook-signature": _signature(now),
    }
    service.record("cancelled_by_webhook", service.send(path=_WEBHOOK, token="", headers=headers))


def _signature(timestamp: str) -> str:
    """Sign the example as Standard Webhooks says."""
    signed = f"{_DELIVERY}.{timestamp}.{json.dumps(_EXAMPLE)}".encode()
    key = base64.b64decode(seed.WEBHOOK_SECRET.removeprefix("whsec_"))
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def _misconfigured(service: Service) -> None:
    service.record("misconfigured", service.send())


_WITH_A_SERVICE_OF_THEIR_OWN: list[tuple[Mapping[str, str], Callable[[Service], None]]] = [
    ({"REQUEST_DEADLINE_SECONDS": "4"}, _in_progress),
    ({"MAX_CONCURRENCY": "1", "MAX_CONCURRENCY_PER_BUSINESS": "1"}, _overloaded),
    ({"CLIENT_SECRET": ""}, _misconfigured),
]

_BROKEN = """
import azure.functions as func
import cancel_appointment.triggers
from cancel_appointment.operation import CancelOperation

def fail(*_):
    raise KeyError

CancelOperation.carry_out = fail
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(cancel_appointment.triggers.blueprint)
"""


@contextmanager
def _broken_app() -> Iterator[Path]:
    """Make a Function App whose cancel operation fails, as a bug would make it."""
    with tempfile.TemporaryDirectory(prefix="broken-app-") as name:
        folder = Path(name)
        (folder / "function_app.py").write_text(_BROKEN)
        (folder / "host.json").write_text((REPOSITORY / "host.json").read_text())
        yield folder


@contextmanager
def _arranged(stack: LocalStack, arrange: Callable[[], None]) -> Iterator[None]:
    arrange()
    try:
        yield
    finally:
        stack.reset()


def _at_graph(stack: LocalStack, *faults: Fault) -> Any:
    return _arranged(stack, lambda: stack.graph.faults.add(*faults))


def _graph_error(code: str) -> dict[str, Any]:
    return {
        "error": {"code": code, "message": "Not shown.", "innerError": {"request-id": _UPSTREAM_ID}}
    }


def _another(name: str) -> dict[str, str]:
    return {**_EXAMPLE, "appointmentId": f"AAMkAD{name}AAA="}


def _until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(_PATIENCE_S / 0.01)):
        if true():
            return
        pause.wait(0.01)
    raise TimeoutError("what was waited for did not come about")


def _body(sent: bytes | str) -> Any:
    text = sent.decode() if isinstance(sent, bytes) else sent
    return json.loads(text) if len(text) <= 4096 else f"<{len(text)} bytes of JSON>"


def _normal(body: dict[str, Any]) -> dict[str, Any]:
    """Put fixed values in place of what each run makes anew: request ids and what follows."""
    normal = dict(body)
    if "requestId" in normal:
        normal["requestId"] = _REQUEST_ID
    if "instance" in normal:
        normal["instance"] = f"urn:uuid:{_REQUEST_ID}"
    if "requestId" in normal.get("upstream", {}):
        normal["upstream"] = {**normal["upstream"], "requestId": _UPSTREAM_ID}
    return normal
