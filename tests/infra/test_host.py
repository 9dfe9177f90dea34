"""The local Functions host, in front of a small Function App, as a process of its own over HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.host.routing import HostError, compile_route, decode_path, join_headers, join_query
from infra.local.host.settings import read_json
from infra.local.host.worker import NOT_PASSED_ON

APP = """
import asyncio
import json
import logging
import os
import threading

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
everyone_is_here = threading.Barrier(4, timeout=10)
open_door = threading.Event()


def described(req: func.HttpRequest) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "headers": dict(req.headers),
        "query": dict(req.params),
        "route": dict(req.route_params),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route(route="echo", methods=["GET", "POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return described(req)


@app.route(route="v1/things/{thing}", methods=["POST"])
def thing(req: func.HttpRequest) -> func.HttpResponse:
    return described(req)


@app.route(route="v1/things/all", methods=["POST"])
def all_things(req: func.HttpRequest) -> str:
    return "all"


@app.route()
async def unnamed(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    logging.getLogger("app").info("trace %s", context.trace_context.trace_parent)
    return func.HttpResponse(req.method)


@app.route(route="lines", methods=["GET"])
async def lines(req: func.HttpRequest) -> func.HttpResponse:
    log = logging.getLogger("app").info
    log("of the task")
    await asyncio.create_task(asyncio.sleep(0, log("of its child")))
    await asyncio.to_thread(log, "of another thread")
    asyncio.get_running_loop().call_later(0.05, log, "after the answer")
    return func.HttpResponse("told")


@app.route(route="sync-line", methods=["GET"])
def sync_line(req: func.HttpRequest) -> func.HttpResponse:
    logging.getLogger("app").info("of a function that is not async")
    return func.HttpResponse("told")


@app.route(route="mirror", methods=["POST"])
def mirror(req: func.HttpRequest) -> func.HttpResponse:
    content_type = req.headers.get("content-type", "application/octet-stream")
    return func.HttpResponse(req.get_body(), mimetype=content_type, status_code=201)


@app.route(route="broken", methods=["GET"])
def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("this is the reason")


@app.generic_trigger(arg_name="req", type="httpTrigger", route="silent", methods=["GET"])
def silent(req: func.HttpRequest) -> None:
    print("silent was here")


@app.route(route="cookies", methods=["GET"])
def cookies(req: func.HttpRequest) -> func.HttpResponse:
    answer = func.HttpResponse(status_code=204, headers={"X-Kind": "two cookies"})
    answer.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly")
    answer.headers.add("Set-Cookie", "b=2")
    return answer


@app.route(route="meet", methods=["GET"])
def meet(req: func.HttpRequest) -> func.HttpResponse:
    everyone_is_here.wait()
    return func.HttpResponse("met")


@app.route(route="setting/{name}", methods=["GET"])
def setting(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(os.environ.get(req.route_params["name"], "<unset>"))


@app.route(route="slow", methods=["GET"])
def slow(req: func.HttpRequest) -> func.HttpResponse:
    print("slow has begun")
    open_door.wait(float(req.params["seconds"]))
    return func.HttpResponse("done")
"""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    cookies: list[str]
    body: bytes


def send(
    host: HostProcess,
    method: str,
    path: str,
    *headers: tuple[str, str],
    body: bytes | None = None,
    chunked: bool = False,
    timeout: float = 20,
) -> Reply:
    """Send one request on a connection of its own.

    Headers go out exactly as given, also repeated ones.
    """
    address = urlsplit(host.url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=timeout)
    try:
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body, encode_chunked=chunked)
        with connection.getresponse() as response:
            cookies = response.headers.get_all("set-cookie", [])
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                cookies,
                response.read(),
            )
    finally:
        connection.close()


def write_app(folder: Path, source: str = APP) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "function_app.py").write_text(source, "utf-8")
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    folder = write_app(tmp_path_factory.mktemp("app"))
    settings = folder / "local.settings.json"
    settings.write_text(
        json.dumps(
            {
                "IsEncrypted": False,
                "Values": {"FROM_FILE": "file", "FROM_BOTH": "file"},
                "Host": {
                    "CORS": "http://localhost:7070,https://partner.example",
                    "CORSCredentials": True,
                },
            }
        ),
        "utf-8",
    )
    environment = {
        "FROM_BOTH": "environment",
        "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "100000",
        "PYTHON_THREADPOOL_THREAD_COUNT": "8",
    }
    with HostProcess(folder, environment, local_settings=settings) as running:
        yield running


# Routing


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/api/echo", 200, id="as written"),
        pytest.param("POST", "/api/echo", 200, id="its other method"),
        pytest.param(
            "GET", "/API/Echo/", 200, id="letter case and a slash at the end do not matter"
        ),
        pytest.param("PUT", "/api/echo", 404, id="wrong method"),
        pytest.param("HEAD", "/api/echo", 404, id="HEAD is not answered by a GET trigger"),
        pytest.param("OPTIONS", "/api/echo", 404, id="OPTIONS without a browser's question"),
        pytest.param("GET", "/echo", 404, id="no route prefix"),
        pytest.param("GET", "/api/unknown", 404, id="unknown"),
        pytest.param("POST", "/api/v1/things", 404, id="parameter missing"),
        pytest.param("POST", "/api/v1/things/1/2", 404, id="a segment too many"),
        pytest.param(
            "DELETE", "/api/unnamed", 200, id="no route and no methods: the name, any method"
        ),
        pytest.param("GET", "/", 404, id="root"),
    ],
)
def test_a_request_finds_its_function_as_on_the_platform(
    host: HostProcess, method: str, path: str, status: int
) -> None:
    reply = send(host, method, path)

    assert reply.status == status
    if status == 404:
        assert reply.body == b""


def test_route_parameters_are_decoded_but_for_an_encoded_slash(host: HostProcess) -> None:
    seen = json.loads(send(host, "POST", "/api/v1/things/a%20b%2Fc%C3%A5+%3D").body)

    assert seen["route"] == {"thing": "a b%2Fcå+="}


def test_a_literal_segment_wins_over_a_parameter(host: HostProcess) -> None:
    assert send(host, "POST", "/api/v1/things/all").body == b"all"


# What the function sees


def test_repeated_headers_are_joined_with_a_comma_and_names_are_lower_case(
    host: HostProcess,
) -> None:
    reply = send(
        host,
        "GET",
        "/api/echo",
        ("Authorization", "Bearer a"),
        ("AUTHORIZATION", "Bearer b"),
        ("X-Empty", ""),
    )

    headers = json.loads(reply.body)["headers"]
    assert headers["authorization"] == "Bearer a,Bearer b"
    assert headers["x-empty"] == ""


def test_header_values_are_utf_8_and_others_a_bad_request(host: HostProcess) -> None:
    name_as_utf_8 = "Åsa".encode().decode("latin-1")  # http.client writes latin-1

    seen = json.loads(send(host, "GET", "/api/echo", ("X-Name", name_as_utf_8)).body)

    assert seen["headers"]["x-name"] == "Åsa"
    assert send(host, "GET", "/api/echo", ("X-Name", "Åsa")).status == 400


def test_the_query_arrives_decoded_joined_and_without_empty_values(host: HostProcess) -> None:
    seen = json.loads(send(host, "GET", "/api/echo?a=1&A=2&b=x%26y+z&c=&d").body)

    assert seen["query"] == {"a": "1,2", "b": "x&y z"}
    assert (
        seen["url"] == f"http://127.0.0.1:{urlsplit(host.url).port}/api/echo?a=1&A=2&b=x%26y+z&c=&d"
    )


def test_a_binary_body_goes_in_and_out_unchanged(host: HostProcess) -> None:
    body = bytes(range(256)) * 300

    reply = send(
        host, "POST", "/api/mirror", ("Content-Type", "application/octet-stream"), body=body
    )

    assert (reply.status, reply.body, reply.headers["content-type"]) == (
        201,
        body,
        "application/octet-stream",
    )


def test_a_chunked_body_arrives_empty_as_on_the_platform(host: HostProcess) -> None:
    reply = send(host, "POST", "/api/mirror", body=b"lost", chunked=True)

    assert (reply.status, reply.body) == (201, b"")


@pytest.mark.parametrize(("size", "status"), [(100_000, 201), (100_001, 413), (3_000_000, 413)])
def test_a_body_over_the_limit_never_reaches_the_function(
    host: HostProcess, size: int, status: int
) -> None:
    assert send(host, "POST", "/api/mirror", body=b"x" * size).status == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/api/echo", [("X-Long", "x" * 30_000)], 200, id="30 kB of headers"),
        pytest.param("/api/echo", [("X-Long", "x" * 33_000)], 431, id="33 kB of headers"),
        pytest.param("/api/echo", [("X-Many", "x")] * 101, 431, id="101 headers"),
        pytest.param("/api/echo?" + "q" * 8_000, [], 200, id="a line of 8,000 bytes"),
        pytest.param("/api/echo?" + "q" * 8_200, [], 414, id="a line of 8,200 bytes"),
    ],
)
def test_a_head_over_kestrels_limits_is_refused(
    host: HostProcess, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    assert send(host, "GET", path, *headers).status == status


def test_the_trace_parent_reaches_the_function(host: HostProcess) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    send(host, "GET", "/api/unnamed", ("traceparent", parent))

    assert f"INFO app: trace {parent}" in host.wait_for(parent)


@pytest.mark.parametrize(
    ("path", "line", "passed_on"),
    [
        ("lines", "of the task", True),
        ("lines", "of its child", True),
        ("lines", "of another thread", False),
        ("lines", "after the answer", False),
        ("sync-line", "of a function that is not async", True),
    ],
)
def test_a_line_that_the_real_host_would_drop_is_marked(
    host: HostProcess, path: str, line: str, passed_on: bool
) -> None:
    send(host, "GET", f"/api/{path}")
    expected = line if passed_on else f"{NOT_PASSED_ON}{line}"
    assert f"INFO app: {expected}\n" in host.wait_for(line)


# What the caller sees


def test_an_exception_is_a_500_without_a_body_and_a_log_entry(host: HostProcess) -> None:
    reply = send(host, "GET", "/api/broken")

    assert (reply.status, reply.body) == (500, b"")
    assert "ValueError: this is the reason" in host.wait_for("this is the reason")


def test_a_function_without_an_output_binding_answers_204(host: HostProcess) -> None:
    assert send(host, "GET", "/api/silent").status == 204
    assert host.wait_for("silent was here")


def test_headers_and_cookies_of_an_answer_arrive(host: HostProcess) -> None:
    reply = send(host, "GET", "/api/cookies")

    assert (reply.status, reply.headers["x-kind"]) == (204, "two cookies")
    assert reply.cookies == ["a=1; HttpOnly; Path=/", "b=2"]


def test_sync_functions_run_at_the_same_time(host: HostProcess) -> None:
    with ThreadPoolExecutor(4) as callers:
        replies = list(callers.map(lambda _: send(host, "GET", "/api/meet"), range(4)))

    assert [reply.body for reply in replies] == [b"met"] * 4


# CORS


@pytest.mark.parametrize("origin", ["http://localhost:7070", "https://partner.example"])
def test_a_listed_origin_may_call(host: HostProcess, origin: str) -> None:
    question = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ]

    preflight = send(host, "OPTIONS", "/api/v1/things/1", *question)
    reply = send(host, "GET", "/api/broken", ("Origin", origin))

    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-methods"] == "POST"
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    for answer in (preflight, reply):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:7070.evil.example",
        "http://localhost",
        "HTTP://LOCALHOST:7070",
        "null",
        "*",
    ],
)
def test_another_origin_is_told_nothing(host: HostProcess, origin: str) -> None:
    preflight = send(
        host, "OPTIONS", "/api/echo", ("Origin", origin), ("Access-Control-Request-Method", "GET")
    )
    reply = send(host, "GET", "/api/echo", ("Origin", origin))

    assert (preflight.status, reply.status) == (204, 200)
    assert not [
        name
        for answer in (preflight, reply)
        for name in answer.headers
        if name.startswith("access-control")
    ]


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FROM_FILE", "file"),
        ("FROM_BOTH", "environment"),
        ("FROM_SHELL", "<unset>"),
        ("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),
    ],
)
def test_a_setting_comes_from_the_environment_first_then_from_the_file(
    host: HostProcess, name: str, value: str
) -> None:
    assert send(host, "GET", f"/api/setting/{name}").body.decode() == value


def test_the_shell_and_the_folders_settings_stay_out_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_app(tmp_path)
    (folder / "local.settings.json").write_text('{"Values": {"FROM_FILE": "file"}}', "utf-8")
    (folder / "host.json").write_text(
        '{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}', "utf-8"
    )
    monkeypatch.setenv("FROM_SHELL", "shell")

    with HostProcess(folder, {"GIVEN": "given"}) as alone:
        seen = [
            send(alone, "GET", f"/setting/{name}").body
            for name in ("FROM_SHELL", "FROM_FILE", "GIVEN")
        ]

    assert seen == [b"<unset>", b"<unset>", b"given"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        pytest.param({"host.json": "{"}, "host.json is not valid JSON", id="host.json is broken"),
        pytest.param(
            {"local.settings.json": "[]"},
            "local.settings.json does not hold a JSON object",
            id="settings are a list",
        ),
        pytest.param(
            {"local.settings.json": '{"IsEncrypted": true}'},
            "is encrypted",
            id="settings are encrypted",
        ),
        pytest.param(
            {"local.settings.json": '{"Host": {"CORS": "*", "CORSCredentials": true}}'},
            "list the origins",
            id="any origin with credentials",
        ),
        pytest.param(
            {"function_app.py": "import no_such_module"},
            "No module named 'no_such_module'",
            id="a module is missing",
        ),
        pytest.param(
            {"function_app.py": "import azure.functions as func\napp = func.FunctionApp()"},
            "No HTTP-triggered function",
            id="no function",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(
    tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    write_app(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    broken = HostProcess(tmp_path, local_settings=tmp_path / "local.settings.json")

    with pytest.raises(RuntimeError, match="ended before it printed") as refused:
        broken.start()

    assert sentence in str(refused.value)
    assert broken.wait() == 1


def test_the_example_settings_name_the_seeded_directory() -> None:
    example = read_json(Path(__file__).parents[2] / "local.settings.example.json")["Values"]

    assert example["TENANT_ID"] == seed.TENANT_ID
    assert example["CLIENT_ID"] == seed.API_CLIENT_ID
    assert example["CLIENT_SECRET"] == seed.API_CLIENT_SECRET


# Start and stop


def test_the_ready_line_is_printed_once_and_names_the_address(host: HostProcess) -> None:
    assert host.output().count(f"Functions host listening on {host.url}\n") == 1


def test_a_busy_port_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        second = HostProcess(folder, port=port)
        with pytest.raises(RuntimeError):
            second.start()

    assert second.output() == (
        f"Cannot listen on port {port}: Address already in use. Stop what uses it or choose "
        "another with --port.\n"
    )
    assert second.wait() == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_lets_a_request_in_flight_finish(tmp_path: Path, number: signal.Signals) -> None:
    with HostProcess(write_app(tmp_path)) as running, ThreadPoolExecutor(1) as caller:
        reply = caller.submit(send, running, "GET", "/api/slow?seconds=0.5")
        running.wait_for("slow has begun")
        os.kill(running.pid, number)

        assert reply.result().body == b"done"
        assert running.wait() == 0
        assert "Traceback" not in running.output()


def test_a_request_without_end_does_not_keep_the_host_from_stopping(tmp_path: Path) -> None:
    with HostProcess(write_app(tmp_path)) as running:
        caller = threading.Thread(target=lambda: send(running, "GET", "/api/slow?seconds=60"))
        caller.start()
        running.wait_for("slow has begun")

        assert running.stop() == 0
        caller.join(timeout=10)
        assert not caller.is_alive()


def test_a_killed_host_is_gone_at_once_and_can_be_started_again(tmp_path: Path) -> None:
    with HostProcess(write_app(tmp_path)) as running:
        assert running.kill() == -signal.SIGKILL
        first = running.url
        with pytest.raises(ConnectionRefusedError):
            send(running, "GET", "/api/echo")

        running.start()

        assert send(running, "GET", "/api/echo").status == 200
        assert running.output().count("Functions host listening on ") == 2
        assert running.url in running.output()
        assert first in running.output()


def test_a_host_that_does_not_get_ready_is_ended_and_its_output_shown(tmp_path: Path) -> None:
    endless = HostProcess(
        write_app(tmp_path, "import threading\nprint('waiting')\nthreading.Event().wait()"),
        timeout_s=1.5,
    )

    with pytest.raises(RuntimeError, match=r"(?s)did not print .* within 1.5 s.*waiting"):
        endless.start()

    assert endless.wait() == -signal.SIGKILL


# The pure parts


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("api/a/{id}", "/api/a/1", {"id": "1"}),
        ("api/a/{id?}", "/api/a", {}),
        ("api/a/{id=5}", "/api/a", {"id": "5"}),
        ("api/a/{id:int}", "/api/a/x", None),
        ("api/a/{id:int}", "/api/a/12", {"id": "12"}),
        (
            "api/a/{id:guid}/b",
            "/api/a/0af76519-16cd-43dd-8448-eb211c80319c/b",
            {"id": "0af76519-16cd-43dd-8448-eb211c80319c"},
        ),
        ("api/{*rest}", "/api/a/b", {"rest": "a/b"}),
        ("api/{name}.{kind}", "/api/report.pdf", {"name": "report", "kind": "pdf"}),
        ("a.b", "/axb", None),
        ("", "/", {}),
    ],
)
def test_a_route_template_means_what_it_means_in_asp_net_core(
    template: str, path: str, expected: dict[str, str] | None
) -> None:
    pattern, names, defaults, _ = compile_route(template)
    found = pattern.fullmatch(path)

    assert (
        found
        and {
            **defaults,
            **{name: value for name, value in zip(names, found.groups(), strict=True) if value},
        }
    ) == expected


def test_an_unknown_constraint_is_refused() -> None:
    with pytest.raises(HostError, match="constraint 'regex"):
        compile_route("api/{id:regex(a)}")


def test_literals_come_before_parameters_and_those_before_the_rest() -> None:
    templates = ["api/{*rest}", "api/{id}", "api/all"]

    assert sorted(templates, key=lambda template: compile_route(template)[3]) == [
        "api/all",
        "api/{id}",
        "api/{*rest}",
    ]


def test_maps_are_built_as_the_host_builds_them() -> None:
    assert join_headers([(b"Accept", b"a"), (b"accept", b"b"), (b"x", b"")]) == {
        "accept": "a,b",
        "x": "",
    }
    assert join_query(b"a=%C3%A5&a=&b=") == {"a": "å,"}
    assert decode_path(b"/a%2fb%20c") == "/a%2Fb c"


def test_the_command_explains_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.local.host.server", "--help"]
    shown = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=20,
    )

    assert "--app" in shown.stdout
