"""The client snippets of docs/clients do what they promise.

They run against the local stack, and against answers that the stack seldom gives. The curl, Python
and Node.js snippets run as they are, configured by their environment. The C# one is only parsed:
there is no .NET here.
"""

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import tree_sitter
import tree_sitter_c_sharp

from infra.local import seed
from infra.local.serving import ENTRA_PORT, HOST_PORT
from shared.errors import (
    FacadeError,
    InteractionRequired,
    OutcomeUnknown,
    Overloaded,
    Throttled,
    TokenRejected,
    UpstreamBroken,
)
from shared.serving.problems import problem
from tests.client import Facade

CLIENTS = Path(__file__).resolve().parents[2] / "docs" / "clients"
REQUEST = {
    "businessId": seed.LUNCH_DELIVERY,
    "appointmentId": "AAMk'AD\"+/=",
    "cancellationMessage": 'Bye\n"for now" \\ ü',
}
CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not checked: {', '.join(missing)} is not installed"
    )


SHELL, NODE = needs("bash", "curl", "jq"), needs("node")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CLIENTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(api: str, token: str, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "API": api, "TOKEN": token, **more}


# Against the local stack: the command lines as a person types them.


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    printed: str


def run(language: str, api: str, token: str, request: dict[str, str], **more: str) -> Ran:
    values = [
        request[name]
        for name in ("businessId", "appointmentId", "cancellationMessage")
        if name in request
    ]
    commands = {
        "curl": ["bash", str(CLIENTS / "cancel-appointment.sh")],
        "Python": [sys.executable, str(CLIENTS / "bookings_client.py"), *values],
        "Node.js": ["node", str(CLIENTS / "cancel-appointment-cli.mjs"), *values],
    }
    ended = subprocess.run(
        commands[language],
        input=json.dumps(request),
        env=environment(api, token, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout + ended.stderr)


each_language = pytest.mark.parametrize(
    "language", [pytest.param("curl", marks=SHELL), "Python", pytest.param("Node.js", marks=NODE)]
)


@each_language
def test_an_appointment_is_cancelled(facade: Facade, language: str) -> None:
    appointment = facade.book()
    request = {
        "businessId": seed.LUNCH_DELIVERY,
        "appointmentId": appointment,
        "cancellationMessage": f"Bye, says {language}.",
    }
    ran = run(language, f"{facade.url}/api", facade.stack.entra.user_token(), request)
    assert (ran.code, "was cancelled" in ran.printed) == (0, True), ran.printed
    assert [mail.message for mail in facade.stack.graph.bookings.outbox] == [
        f"Bye, says {language}."
    ] * 2


@each_language
def test_what_is_not_there_is_told_apart_from_a_failure(facade: Facade, language: str) -> None:
    request = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": f"AAMkADnever{language}="}
    ran = run(language, f"{facade.url}/api", facade.stack.entra.user_token(), request)
    assert (ran.code, "no such appointment" in ran.printed) == (3, True), ran.printed


@each_language
def test_a_refusal_is_a_failure_that_names_its_code_and_not_the_token(
    facade: Facade, language: str
) -> None:
    token = facade.stack.entra.user_token(scopes="User.Read")
    request = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": facade.book()}
    ran = run(language, f"{facade.url}/api", token, request)
    assert (ran.code, "insufficient_scope" in ran.printed) == (1, True), ran.printed
    assert token not in ran.printed
    assert not facade.stack.graph.bookings.outbox


@each_language
def test_the_faults_of_a_request_are_printed(facade: Facade, language: str) -> None:
    request = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": "x" * 1025}
    ran = run(language, f"{facade.url}/api", facade.stack.entra.user_token(), request)
    assert (ran.code, "\nappointmentId: " in ran.printed) == (1, True), ran.printed


@each_language
@pytest.mark.parametrize("left_out", ["API", "TOKEN"])
def test_what_is_missing_is_named_with_the_usage(language: str, left_out: str) -> None:
    ran = run(language, "http://127.0.0.1:9", "t", REQUEST, **{left_out: ""})
    wanted = "SCOPE" if left_out == "TOKEN" else left_out
    assert ran.code == 2, ran.printed
    first, *rest = ran.printed.splitlines()
    assert first.startswith("Missing: ")
    assert wanted in first
    assert any("Ends with 0: cancelled" in line for line in rest)
    assert "Traceback" not in ran.printed


@pytest.mark.parametrize("language", ["Python", pytest.param("Node.js", marks=NODE)])
def test_without_an_appointment_the_usage_is_printed(language: str) -> None:
    ran = run(language, "http://127.0.0.1:9", "t", {"businessId": "b"})
    assert (ran.code, "BUSINESS_ID APPOINTMENT_ID" in ran.printed) == (2, True), ran.printed


@SHELL
def test_a_service_that_cannot_be_reached_is_a_failure(tmp_path: Path) -> None:
    path, _ = no_sleep(tmp_path)
    ran = run("curl", "http://127.0.0.1:9", "t", REQUEST, PATH=path)
    assert (ran.code, "Gave up: 000" in ran.printed) == (1, True), ran.printed


# Against scripted answers, which the service's own table writes.


@dataclass
class Script:
    """A service that answers as told, in order; ``received`` is what came."""

    answers: list[bytes | None]  # None: the connection is closed without an answer
    received: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    api: str = ""


def http(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: "
        f"{len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def outcome(name: str) -> bytes:
    body = {
        "outcome": name,
        "confirmed": True,
        "replayed": False,
        "message": "So it ended.",
        "requestId": "r-1",
    }
    return http(200, json.dumps(body).encode())


def failure(error: FacadeError) -> bytes:
    reply = problem(error, "r-1", accept=None, authorization_uri=None)
    return http(reply.status, reply.body)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    running: list[ThreadingHTTPServer] = []

    def start(*answers: bytes | None) -> Script:
        script = Script(list(answers))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/api/v1/cancel-appointment"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script.received.append(
                    (
                        {name.lower(): value for name, value in self.headers.items()},
                        json.loads(body),
                    )
                )
                answer = script.answers.pop(0)
                self.close_connection = True
                if answer is not None:
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        script.api = f"http://127.0.0.1:{server.server_port}/api"
        return script

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Seen:
    """What a client made of it.

    ``ended`` is the outcome, or the code of the failure. ``asked`` are the claims with which the
    client asked for tokens.
    """

    ended: str
    waited: list[float]
    asked: list[str | None]


def in_python(script: Script, _: Path) -> Seen:
    client = load("bookings_client")
    waited: list[float] = []
    asked: list[str | None] = []

    def acquire(claims: str | None) -> str:
        asked.append(claims)
        return f"token-{len(asked)}"

    with requests.Session() as session:
        session.trust_env = False
        try:
            ended = client.cancel_appointment(
                script.api, REQUEST, acquire, session=session, sleep=waited.append
            )["outcome"]
        except client.CancelFailedError as error:
            ended = error.code
    return Seen(ended, waited, asked)


CALL = """
import { cancelAppointment } from %s;
const waited = [], asked = [];
const acquireToken = async (claims) => {
  asked.push(claims ?? null);
  return `token-${asked.length}`;
};
const wait = async (seconds) => { waited.push(seconds); };
let ended;
try {
  const { API: api, REQUEST } = process.env;
  const request = JSON.parse(REQUEST);
  ended = (await cancelAppointment({ api, request, acquireToken, wait })).outcome;
} catch (error) {
  ended = error.code;
}
console.log(JSON.stringify({ ended, waited, asked }));
"""


def in_node(script: Script, _: Path) -> Seen:
    source = CALL % json.dumps((CLIENTS / "cancelAppointment.mjs").as_uri())
    printed = node(source, API=script.api, REQUEST=json.dumps(REQUEST))
    return Seen(**json.loads(printed))


def node(source: str, **more: str) -> str:
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", source],
        env={"PATH": os.environ["PATH"], **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def no_sleep(folder: Path) -> tuple[str, Path]:
    """Return a PATH with a ``sleep`` that only writes down how long, and the file that it writes.

    The PATH's other programs are the real ones.
    """
    log = folder / "waited"
    log.touch()
    shim = folder / "sleep"
    shim.write_text(f'#!/bin/sh\necho "$1" >> "{log}"\n')
    shim.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}", log


def in_shell(script: Script, folder: Path) -> Seen:
    path, log = no_sleep(folder)
    ran = run(
        "curl", script.api, "token-1", REQUEST, PATH=path, SCOPE="api://a/Appointments.Cancel"
    )
    found = {0: "cancelled", 3: "not_found"}.get(ran.code)
    if found is None and "Unknown outcome 'postponed'" in ran.printed:
        found = "unknown_outcome"
    if found is None:
        codes = re.findall(
            r"\b(?:throttled|invalid_token|upstream_error|outcome_unknown|overloaded|no_answer|interaction_required)\b",
            ran.printed,
        )
        found = codes[0] if codes else "no_answer"
    asked: list[str | None] = [None]
    if challenge := re.search(r"--claims-challenge '([^']+)'", ran.printed):
        asked.append(base64.b64decode(challenge[1]).decode())
        found = "interaction_required"
    return Seen(found, [float(line) for line in log.read_text().split()], asked)


each_client = pytest.mark.parametrize(
    "drive",
    [
        pytest.param(in_shell, marks=SHELL, id="curl"),
        pytest.param(in_python, id="Python"),
        pytest.param(in_node, marks=NODE, id="JavaScript"),
    ],
)
type Drive = Callable[[Script, Path], Seen]


@each_client
def test_the_request_arrives_as_it_was_meant(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    script = scripted(outcome("cancelled"))
    assert drive(script, tmp_path).ended == "cancelled"
    ((headers, body),) = script.received
    assert body == REQUEST
    assert headers["authorization"] == "Bearer token-1"
    assert headers["content-type"].startswith("application/json")
    assert 1 <= len(headers["idempotency-key"]) <= 255


@each_client
def test_a_wait_is_kept_and_the_same_request_is_sent_again(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    script = scripted(
        failure(Throttled("Slowly.", retry_after_s=41)),
        failure(Overloaded("Busy.", retry_after_s=2)),
        outcome("cancelled"),
    )
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited) == ("cancelled", [41, 2])
    assert len({headers["idempotency-key"] for headers, _ in script.received}) == 1
    assert [body for _, body in script.received] == [REQUEST] * 3


@each_client
def test_after_a_lost_answer_the_same_request_is_sent_again(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    script = scripted(None, outcome("cancelled"))
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited) == ("cancelled", [5])
    assert len({headers["idempotency-key"] for headers, _ in script.received}) == 1


@each_client
def test_an_unknown_outcome_is_a_failure(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    script = scripted(outcome("postponed"))
    assert drive(script, tmp_path).ended == "unknown_outcome"
    assert len(script.received) == 1


@each_client
@pytest.mark.parametrize(
    ("error", "code"),
    [(TokenRejected("Old."), "invalid_token"), (UpstreamBroken("Odd."), "upstream_error")],
    ids=["401", "502"],
)
def test_what_a_repeat_cannot_help_is_not_repeated(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive, error: FacadeError, code: str
) -> None:
    script = scripted(failure(error))
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited, len(script.received)) == (code, [], 1)


@each_client
@pytest.mark.parametrize(
    "page",
    [
        http(429, b"<html>Slowly</html>", "text/html"),
        http(502, b"<html>Bad Gateway</html>", "text/html"),
        http(503, b'{"code": 503, "errors": "of somebody else"}'),
    ],
    ids=["429", "502", "JSON of a gateway"],
)
def test_after_the_page_of_a_gateway_the_same_request_is_sent_again(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive, page: bytes
) -> None:
    script = scripted(page, outcome("cancelled"))
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited) == ("cancelled", [5])
    assert len({headers["idempotency-key"] for headers, _ in script.received}) == 1


@each_client
def test_a_page_that_refuses_is_a_failure(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    script = scripted(http(403, b"<html>Forbidden</html>", "text/html"))
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited, len(script.received)) == ("no_answer", [], 1)


@each_client
def test_nobody_sleeps_for_an_hour(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    """The patience is for all waits together."""
    hour = scripted(failure(Throttled("Slowly.", retry_after_s=3600)))
    seen = drive(hour, tmp_path)
    assert (seen.ended, seen.waited, len(hour.received)) == ("throttled", [], 1)
    minute = failure(Throttled("Slowly.", retry_after_s=70))
    seen = drive(scripted(minute, minute), tmp_path)
    assert (seen.ended, seen.waited[-1:]) == ("throttled", [70])


@each_client
def test_attempts_end(scripted: Callable[..., Script], tmp_path: Path, drive: Drive) -> None:
    script = scripted(*[failure(OutcomeUnknown("Not known.", retry_after_s=1))] * 9)
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.waited, len(script.received)) == ("outcome_unknown", [1, 1, 1], 4)


@pytest.mark.parametrize(
    "drive",
    [pytest.param(in_python, id="Python"), pytest.param(in_node, marks=NODE, id="JavaScript")],
)
def test_a_challenge_is_answered_once_with_a_new_token(
    scripted: Callable[..., Script], tmp_path: Path, drive: Drive
) -> None:
    challenge = failure(InteractionRequired("More.", claims=CLAIMS))
    script = scripted(challenge, outcome("cancelled"))
    seen = drive(script, tmp_path)
    assert (seen.ended, seen.asked, seen.waited) == ("cancelled", [None, CLAIMS], [])
    assert [headers["authorization"] for headers, _ in script.received] == [
        "Bearer token-1",
        "Bearer token-2",
    ]
    assert len({headers["idempotency-key"] for headers, _ in script.received}) == 1

    seen = drive(scripted(challenge, challenge), tmp_path)
    assert (seen.ended, seen.asked) == ("interaction_required", [None, CLAIMS])


@SHELL
def test_the_shell_says_how_to_answer_a_challenge(
    scripted: Callable[..., Script], tmp_path: Path
) -> None:
    script = scripted(failure(InteractionRequired("More.", claims=CLAIMS)))
    assert in_shell(script, tmp_path) == Seen("interaction_required", [], [None, CLAIMS])


@SHELL
def test_the_shell_says_why_it_waits_and_how_to_go_on(
    scripted: Callable[..., Script], tmp_path: Path
) -> None:
    path, _ = no_sleep(tmp_path)
    slowly = [failure(Throttled("Slowly.", retry_after_s=seconds)) for seconds in (7, 3600)]
    ran = run("curl", scripted(*slowly).api, "t", REQUEST, PATH=path, IDEMPOTENCY_KEY="k-1")
    assert "throttled: trying again in 7 seconds" in ran.printed
    assert "in 3600 seconds, with IDEMPOTENCY_KEY=k-1" in ran.printed


def test_a_challenge_of_the_real_chain_is_answered(facade: Facade) -> None:
    """Entra asks for MFA in the exchange, and the client comes back with a token that has it.

    The client shows the challenge to its sign-in.
    """
    entra = facade.stack.entra
    entra.require_mfa(seed.ADELE)
    client, appointment = load("bookings_client"), facade.book()
    asked: list[str | None] = []

    def acquire(claims: str | None) -> str:
        asked.append(claims)
        capable = {"xms_cc": ["cp1"]}
        return entra.user_token(
            claims=capable | ({"amr": ["pwd", "mfa"], "acrs": ["c1"]} if claims else {})
        )

    answer = client.cancel_appointment(
        f"{facade.url}/api",
        REQUEST | {"appointmentId": appointment},
        acquire,
        session=facade.session,
    )
    assert answer["outcome"] == "cancelled"
    assert asked[0] is None
    assert "access_token" in json.loads(asked[1] or "")


# What can only be read.


@NODE
@pytest.mark.parametrize("file", sorted(CLIENTS.glob("*.mjs")), ids=lambda file: file.name)
def test_javascript_is_well_formed(file: Path) -> None:
    subprocess.run(["node", "--check", str(file)], check=True, capture_output=True)


def c_sharp_faults(source: bytes) -> list[str]:
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c_sharp.language())).parse(source)
    faults, left = [], [tree.root_node]
    while left:
        found = left.pop()
        if found.is_error or found.is_missing:
            faults.append(f"line {found.start_point[0] + 1}")
        left.extend(found.children)
    return faults


def test_the_syntax_of_c_sharp_is_right() -> None:
    source = (CLIENTS / "CancelAppointment.cs").read_bytes()
    assert c_sharp_faults(source) == []
    assert c_sharp_faults(source.replace(b"await PostAsync(", b"await PostAsync((", 1))


def test_the_index_names_every_snippet() -> None:
    text = (CLIENTS / "README.md").read_text()
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, check=True)
    for name in set(listed.stdout.split()) - {"README.md"}:
        assert f"]({name})" in text, name


def test_the_index_names_the_local_stack_as_it_is() -> None:
    text = (CLIENTS / "README.md").read_text()
    for known in (
        f"WEBHOOK_SECRET={seed.WEBHOOK_SECRET}\n",
        f"AUTHORITY=https://localhost:{ENTRA_PORT}/{seed.TENANT_ID}\n",
        f"CLIENT_ID={seed.PARTNER_CLIENT_ID}\n",
        f"SCOPE=api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}\n",
        f"API=http://localhost:{HOST_PORT}/api\n",
        f"BUSINESS={seed.LUNCH_DELIVERY}\n",
        f'"authority": "https://localhost:{ENTRA_PORT}/{seed.TENANT_ID}"',
        f'"clientId": "{seed.PARTNER_CLIENT_ID}"',
        f'"scope": "api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}"',
    ):
        assert known in text
    booked = {one.appointment_id for one in seed.APPOINTMENTS}
    assert set(re.findall(r"AAMkAD\w+=", text)) <= booked


def test_what_the_shell_needs_is_said(tmp_path: Path) -> None:
    for name in ("bash", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    ran = run("curl", "http://127.0.0.1:9", "", REQUEST, PATH=str(tmp_path), SCOPE="api://x/y")
    assert (ran.code, "Missing: TOKEN, or the Azure CLI (az)" in ran.printed) == (2, True)
