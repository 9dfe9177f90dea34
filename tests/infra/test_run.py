"""``make run``: whose settings win, what it prints, and what a reset and an upgrade do."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.serving import signed_command
from infra.local.settings import (
    environment_of,
    read_assignments,
    read_local_settings,
    read_origins,
)
from infra.local.stack import LocalStack

REPOSITORY = Path(__file__).resolve().parents[2]
ON_FREE_PORTS = """
import sys
from infra.local import __main__, serving
for name in ("ENTRA", "GRAPH", "CONSOLE", "CONSOLE_ENTRA", "CONSOLE_GRAPH"):
    setattr(serving, f"{name}_PORT", 0)
serving._BUNDLE = None
raise SystemExit(__main__.main(sys.argv[1:]))
"""
PATIENCE_S = 60.0


class Running:
    """A running ``make run``, on free ports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._printed: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._printed.append(line)
                self._news.notify_all()

    def output(self) -> str:
        return "".join(self._printed)

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_S
        with self._news:
            while not (found := re.search(pattern, self.output())):
                assert self._news.wait(deadline - time.monotonic()), self.output()
            return found

    def address(self, name: str) -> str:
        return self.wait_for(rf"{name} +(https?://localhost:\d+)")[1]


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def make_run(*arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-c", ON_FREE_PORTS, "run", "--port", str(free_port()), *arguments]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Running(process)
        finally:
            process.terminate()
            process.wait(20)


def session() -> requests.Session:
    one = requests.Session()
    one.trust_env = False
    one.verify = False
    return one


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_line_for_each_request_follows_and_a_reset_makes_the_service_forget() -> None:
    with make_run("--set", "DEFAULT_CANCELLATION_MESSAGE=Set on the command line") as running:
        facade = running.address("Functions runtime")
        entra = running.address("Entra ID, simulated").replace("localhost", "127.0.0.1")
        graph = running.address("Bookings, simulated").replace("localhost", "127.0.0.1")
        running.wait_for("A line for each request follows")
        with session() as caller:
            token = caller.get(f"{entra}/_local/token/adele", timeout=30).text
            body = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": seed.EXAMPLE_APPOINTMENT}
            headers = {"Authorization": f"Bearer {token}"}

            def cancel() -> dict[str, object]:
                address = f"{facade}/api/v1/cancel-appointment"
                answer = caller.post(address, json=body, headers=headers, timeout=30)
                told: dict[str, object] = answer.json()
                return told

            again = cancel()
            assert (again["outcome"], again["replayed"]) == ("cancelled", True)  # the tour did it
            running.wait_for(rf"event=request status=200 .*requestId={again['requestId']}")
            assert caller.post(f"{graph}/_local/reset", timeout=60).ok
            first = cancel()
            assert (first["outcome"], first["replayed"]) == ("cancelled", False)
            mails = caller.get(f"{graph}/_local/outbox", timeout=30).json()
            assert {mail["message"] for mail in mails} == {"Set on the command line"}


def test_a_quiet_run_prints_no_line() -> None:
    with make_run("--quiet") as running:
        facade = running.address("Functions runtime")
        running.wait_for("or as a system that signs webhooks")
        with session() as caller:
            assert caller.post(f"{facade}/api/v1/cancel-appointment", timeout=30).status_code == 401
        assert "event=request" not in running.output()


@pytest.mark.parametrize(
    "assignment", ["CLOUD", "=x", "a b=c", "TENANT_ID=1", "CLIENT_SECRET=mine", "GRAPH_ENDPOINT=x"]
)
def test_a_setting_that_cannot_be_taken_is_said_in_one_sentence(assignment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_FREE_PORTS, "run", "--set", assignment],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--set" in done.stderr


def test_the_stack_wins_over_the_developer_and_the_command_line_over_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "local.settings.json"
    values = {"TENANT_ID": "mine", "MANAGED_IDENTITY_CLIENT_ID": "mine", "MAX_CONCURRENCY": 8}
    file.write_text(json.dumps({"Values": {**values, "REQUIRED_SCOPE": "A", "TELEMETRY": "off"}}))
    chosen = read_assignments(["REQUIRED_SCOPE=B=C"])
    environment = environment_of(
        {"TENANT_ID": "stack", "WEBHOOK_KEYS": "[]"}, read_local_settings(file), chosen
    )
    assert environment == {
        "TENANT_ID": "stack",
        "WEBHOOK_KEYS": "[]",
        "MAX_CONCURRENCY": "8",
        "REQUIRED_SCOPE": "B=C",
        "TELEMETRY": "off",
    }


def test_a_settings_file_that_is_not_there_sets_nothing(tmp_path: Path) -> None:
    assert read_local_settings(tmp_path / "local.settings.json") == {}
    assert read_origins(tmp_path / "local.settings.json") == []


def test_pages_of_the_developer_are_let_in(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text('{"Host": {"CORS": "http://localhost:8080, http://localhost:3000/"}}')
    assert read_local_settings(file) == {}
    assert read_origins(file) == ["http://localhost:3000", "http://localhost:8080"]
    file.write_text('{"Host": {"CORS": "*", "CORSCredentials": true}}')
    with pytest.raises(RuntimeError, match="browsers refuse"):
        read_origins(file)


@pytest.mark.parametrize("text", ['{"IsEncrypted": true}', "{", '{"Values": []}', "[1]"])
def test_a_settings_file_at_fault_is_said_in_words(tmp_path: Path, text: str) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(text)
    with pytest.raises(RuntimeError, match=re.escape("local.settings.json")):
        read_local_settings(file)


def test_the_signed_command_is_a_webhook_that_is_accepted(stack: LocalStack) -> None:
    key = "6c6f63616c20737461636b2073656372657420776f727468206e6f7468696e67"
    with HostProcess(REPOSITORY, stack.environment_with_webhooks) as host:
        command = signed_command(host.url, seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT, key)
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True
        )
    assert json.loads(done.stdout)["outcome"] == "cancelled"


@pytest.mark.parametrize("method", ["curl", "java"])
def test_a_request_that_asks_for_http_2_keeps_its_body(
    facade: HostProcess, stack: LocalStack, method: str
) -> None:
    """Java's HttpClient and curl --http2 ask for an upgrade on a connection without TLS."""
    body = json.dumps({"businessId": seed.LUNCH_DELIVERY, "appointmentId": "AAMkADnosuch="})
    upgrade = {
        "curl": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "java": "Connection: Upgrade, HTTP2-Settings\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n",
    }[method]
    head = (
        "POST /api/v1/cancel-appointment HTTP/1.1\r\nHost: localhost\r\n"
        f"{upgrade}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {stack.entra.user_token(seed.ADELE)}\r\n\r\n"
    )
    port = int(facade.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(head.encode() + body.encode())
        answer = b""
        while b'"requestId"' not in answer:
            more = wire.recv(65536)
            assert more, answer
            answer += more
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"not_found"' in answer
