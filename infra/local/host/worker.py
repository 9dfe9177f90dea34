"""The official worker runtime behind the local host: loads a Function App and runs its functions.

Owns the stand-ins for the gRPC messages that the runtime expects, and which log lines the host
would take. Does *not* know HTTP servers.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime
from azure_functions_runtime import native_invocation
from azure_functions_runtime.bindings.context import _invocation_id_local
from azure_functions_runtime.bindings.datumdef import Datum

from infra.local.host.routing import Answer, HostError, Route, compile_route


class _BindingInfo(SimpleNamespace):
    out, inout = 1, 2
    undefined = 0


class _StatusResult(SimpleNamespace):
    Failure, Success = 0, 1


_RECORD = SimpleNamespace
# The runtime expects these gRPC messages: records that remember what they were made with.
_PROTOS = SimpleNamespace(
    BindingInfo=_BindingInfo,
    StatusResult=_StatusResult,
    **dict.fromkeys(
        [
            "FunctionMetadataResponse",
            "RpcException",
            "RpcFunctionMetadata",
            "RpcRetryOptions",
            "WorkerInitResponse",
            "WorkerMetadata",
        ],
        _RECORD,
    ),
)


NOT_PASSED_ON = "[no invocation: the Functions host drops this line] "
_OWN_LINES = ("azure.functions", "infra.local", "uvicorn")  # the host's and the runtime's
_running: set[str] = set()


async def load_routes(app_folder: Path, route_prefix: str) -> list[Route]:
    """Start the runtime on a Function App and return its HTTP routes, best match first.

    Errors: HostError when it does not load.
    """
    runtime.start_threadpool_executor()
    request = _RECORD(
        worker_init_request=_RECORD(capabilities={}, function_app_directory=str(app_folder))
    )
    started = await runtime.worker_init_request(
        _RECORD(request=request, properties={"protos": _PROTOS, "host": "127.0.0.1"})
    )
    if started.result.status != _StatusResult.Success:
        logging.getLogger(__name__).error("%s", started.result.exception.stack_trace)
        raise HostError(
            f"The Function App in {app_folder} does not load: {started.result.exception.message}"
        )
    loaded = await runtime.functions_metadata_request(_RECORD(request=_RECORD(), properties={}))
    routes = []
    for function in loaded.function_metadata_results or ():
        for binding in map(json.loads, function.raw_bindings):
            if binding["type"] == "httpTrigger":
                methods, template = binding.get("methods"), binding.get("route")
                routes.append(
                    Route(
                        function.function_id,
                        function.name,
                        binding["name"],
                        None
                        if methods is None
                        else frozenset(str(method).upper() for method in methods),
                        *compile_route(
                            f"{route_prefix}/{function.name if template is None else template}"
                        ),
                    )
                )
    if not routes:
        raise HostError(f"No HTTP-triggered function was found in {app_folder}.")
    return sorted(routes, key=lambda route: route.rank)


async def invoke(route: Route, request: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Run one function on one request; it answers 500 without a body when it raises."""
    trigger = Datum(request, "http")
    context = headers.get("traceparent", ""), headers.get("tracestate", "")
    invocation_id = str(uuid.uuid4())
    _running.add(invocation_id)
    try:
        ok, returned, *_ = await native_invocation.invocation_request_native(
            invocation_id, route.function_id, [(route.trigger, trigger)], {}, *context
        )
    finally:
        _running.discard(invocation_id)
    if not ok:
        return Answer(500)
    if returned is None:
        return Answer(204)
    if returned.type != "http":
        text = (
            returned.value
            if isinstance(returned.value, str | bytes)
            else json.dumps(returned.value)
        )
        body = text.encode() if isinstance(text, str) else text
        return Answer(200, [("content-type", "text/plain; charset=utf-8")], body)
    value = returned.value
    answer_headers = [(name, datum.value) for name, datum in value["headers"].items()]
    answer_headers += [
        ("set-cookie", morsel.OutputString())
        for cookie in value["cookies"] or ()
        for morsel in cookie.values()
    ]
    return Answer(int(value["status_code"].value), answer_headers, value["body"].value)


def mark_line(record: logging.LogRecord) -> bool:
    """Set ``record.mark`` if the host would drop this line of the app.

    It drops a line that belongs to no invocation, or to one that has ended (the host's
    GrpcWorkerChannel.Log). The worker of Python 3.13 tells them apart by the task on the event
    loop, and elsewhere by a variable of the thread, which only the runtime's own threads have
    (azure-functions-python-worker issue 1860).
    """
    try:
        asyncio.get_running_loop()
        invocation_id = runtime.invocation_id_cv.get()
    except RuntimeError:
        invocation_id = getattr(_invocation_id_local, "invocation_id", None)
    passed_on = invocation_id in _running or record.name.startswith(_OWN_LINES)
    record.mark = "" if passed_on else NOT_PASSED_ON
    return True
