"""A real Azurite for the tests: installed on first use, started on a free port, surely stopped.

Owns the emulator's process; ``node_packages.py`` installs it. Needs Node.js 20 or newer with npm.
"""

import base64
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.integration import node_packages

_ACCOUNT = "testaccount"


class AzuriteMissing(Exception):
    """Azurite cannot be started here; the message says what it printed."""


def install() -> Path:
    """Install the pinned Azurite unless it is there, and give the program."""
    return node_packages.install("azurite") / "node_modules" / ".bin" / "azurite-table"


class Azurite:
    """The table service on a free loopback port, empty, for as long as the context lasts.

    With ``certificate`` (PEM files) it speaks https and takes bearer tokens.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self._certificate = certificate
        self._key = base64.b64encode(secrets.token_bytes(32)).decode()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """The address of the table service."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}/{_ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """What an app setting would hold."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={self._key};"
            f"TableEndpoint={self.endpoint};"
        )

    def __enter__(self) -> Self:
        program = install()
        self._folder = tempfile.TemporaryDirectory(prefix="azurite-", ignore_cleanup_errors=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__, None, None, None)
            for _ in range(
                3
            ):  # another process may take the port between our look and Azurite's start
                self.port = _free_port()
                self._start(program)
                if self._answers():
                    undo.pop_all()
                    return self
                self._stop()
            raise AzuriteMissing(f"Azurite does not start:\n{self._log.read_text()[-2000:]}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._folder.cleanup()

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "azurite.log"

    def _start(self, program: Path) -> None:
        command: list[str | Path] = [
            program,
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--location",
            self._folder.name,
        ]
        command += ["--tableHost", "127.0.0.1", "--tablePort", str(self.port)]
        if self._certificate:
            cert, key = self._certificate
            command += ["--oauth", "basic", "--cert", cert, "--key", key]
        environment = {**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{self._key}"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        give_up = time.monotonic() + 30
        while self._process and self._process.poll() is None and time.monotonic() < give_up:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                self._process.pid, signal.SIGKILL
            )  # its data is thrown away: nothing to end in order
        self._process.wait(timeout=10)
        self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azurite for the whole run; each test takes a table of its own."""
    with Azurite() as running:
        yield running


if __name__ == "__main__":
    print(f"azurite is installed: {install()}")  # noqa: T201
