"""Runs the local Functions host as a process of its own.

Its environment holds nothing but what the caller gives.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from infra.local.host.server import READY

_REPOSITORY = Path(__file__).resolve().parents[3]
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TEMP",
    "TMP",
    "TZ",
    "SYSTEMROOT",
)


class HostProcess:
    """A running Functions host; use as a context manager.

    ``environment`` is what the app sees, beside PATH, HOME and their like. No setting of the
    developer's shell gets in, and no local.settings.json unless ``local_settings`` names one.
    ``port`` 0 takes a free one. ``cors`` are the origins whose web pages may call. ``interpreter``
    may be the Python of another virtual environment, and ``host_folder`` the folder from which it
    imports this host. So an app can run with what it declares and no more. ``echo`` gets each line
    that the host prints. ``http`` is the host's parser of requests. Errors: RuntimeError, with all
    that was printed, when the host is not ready within ``timeout_s`` seconds.
    """

    def __init__(
        self,
        app_folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        local_settings: Path | None = None,
        cors: Sequence[str] = (),
        timeout_s: float = 30.0,
        interpreter: Path | None = None,
        host_folder: Path = _REPOSITORY,
        echo: Callable[[str], None] | None = None,
        http: Literal["h11", "httptools"] = "h11",
    ) -> None:
        self._host_folder = host_folder
        self._echo = echo
        self._command = [
            str(interpreter or sys.executable),
            "-m",
            "infra.local.host.server",
            "--app",
            str(app_folder.resolve()),
            "--port",
            str(port),
            "--http",
            http,
        ]
        self._command += [
            "--local-settings",
            str(local_settings.resolve()) if local_settings else os.devnull,
        ]
        self._command += ["--cors", ",".join(cors)] if cors else []
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = {**inherited, **(environment or {})}
        self._timeout_s = timeout_s
        self._printed: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._url: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address without a trailing slash, e.g. ``http://localhost:49152``."""
        if self._url is None:
            raise RuntimeError("The Functions host has not been started.")
        return self._url

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running().pid

    def start(self) -> None:
        """Start the host and return when it answers.

        After a stop or a kill it can start again; its output goes on.
        """
        with self._news:
            seen = len(self.output())
            self._ended = False
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            self._command,
            cwd=self._host_folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name="host-output", daemon=True
        )
        self._reader.start()
        try:
            printed = self.wait_for(READY, timeout_s=self._timeout_s, start=seen)
        except BaseException:
            self.kill()
            raise
        self._url = printed[printed.index(READY, seen) + len(READY) :].split("\n", 1)[0].strip()

    def output(self) -> str:
        """Return everything printed so far, stdout and stderr together."""
        with self._news:
            return "".join(self._printed)

    def wait_for(self, text: str, *, timeout_s: float = 10.0, start: int = 0) -> str:
        """Return the output once a whole line after character ``start`` holds ``text``.

        Errors: RuntimeError, with the output, when the host ends or time runs out first.
        """
        deadline = time.monotonic() + timeout_s
        with self._news:
            while text not in (printed := self.output())[start:]:
                left_s = deadline - time.monotonic()
                if self._ended:
                    raise RuntimeError(
                        f"The Functions host ended before it printed {text!r}. It "
                        f"printed:\n{printed}"
                    )
                if left_s <= 0:
                    raise RuntimeError(
                        f"The Functions host did not print {text!r} within {timeout_s:g} s. "
                        f"It printed:\n{printed}"
                    )
                self._news.wait(left_s)
            return printed

    def wait(self, timeout_s: float = 10.0) -> int:
        """Wait for the process to end and return its exit code.

        Errors: subprocess.TimeoutExpired.
        """
        code = self._running().wait(timeout_s)
        self._join()
        return code

    def terminate(self) -> None:
        """Ask the host to stop (SIGTERM) and return at once."""
        self._running().terminate()

    def stop(self) -> int:
        """Ask the host to stop, wait for requests in flight, and return its exit code.

        Kill the host if it does not stop.
        """
        process = self._running()
        process.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            return self.kill()

    def restart(self) -> None:
        """Stop the host and start it again, on the same port if one was named."""
        self.stop()
        self.start()

    def kill(self) -> int:
        """End the host at once (SIGKILL), like the loss of a machine, and return its exit code."""
        self._running().kill()
        return self.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("The Functions host has not been started.")
        return self._process

    def _read(self, process: subprocess.Popen[str]) -> None:
        with process.stdout as lines:  # type: ignore[union-attr]  # opened as a pipe
            for line in lines:
                if self._echo is not None:
                    self._echo(line)
                with self._news:
                    self._printed.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(timeout=10)
