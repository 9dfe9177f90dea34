"""What the service reports of a request: one structured line, its events and its measurements.

Everything is collected while the request runs, on any thread. The task of its invocation writes it
before it returns: the Functions host drops a line that belongs to no running invocation
(azure-functions-python-worker issue 1860). What happens after the answer becomes a metric only.

Owns what may be logged: ids of requests, codes, counts and durations, and the correlation with the
caller and with Graph. Does *not* log a token, a secret, a message, an address, a name or an
upstream body. People and mailboxes appear as short hashes, and only the hash is ever passed to a
logger.
"""

import hashlib
import logging
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath

from shared.telemetry.metrics import Event, Meter, Metrics
from shared.telemetry.tracing import Tracing

_log = logging.getLogger("facade.request")
_WORDS = {True: "true", False: "false"}
_PLAIN = re.compile(r"[\x21\x23-\x7e]+")
_PLAIN_LINE = re.compile(
    r"[\x20\x21\x23-\x7e]*[\x21\x23-\x3c\x3e-\x7e]"
)  # and with no empty value at its end
_NOT_PLAIN = re.compile(r"[^\x20\x21\x23-\x7e]")
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where spans and measurements go; one per worker."""

    tracing: Tracing
    metrics: Metrics


OFF = Telemetry(Tracing(), Metrics(Meter()))


@dataclass(slots=True)
class Journal:
    """What happened to one request, collected as it goes by one thread at a time; any may write.

    Times are in seconds of a monotonic clock.
    """

    request_id: str
    now: Callable[[], float] = field(repr=False)
    correlation_id: str | None = None
    action: str = ""
    metrics: Metrics = field(default=OFF.metrics, repr=False)
    facts: dict[str, str | int | float | bool] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[tuple[logging.Logger, int, str]] = field(default_factory=list)
    cause: str | None = None
    started_at: float = field(init=False)
    endings: dict[str, str] = field(default_factory=dict)  # of the last call of each step

    def __post_init__(self) -> None:
        self.started_at = self.now()

    def note(self, **facts: str | float | bool | None) -> None:
        """Add facts to the line; what is None is left out."""
        for name, value in facts.items():
            if value is not None:
                self.facts[name] = value

    def graph_call(
        self,
        step: str,
        ending: str,
        *,
        status: int | None,
        graph_request_id: str | None,
        seconds: float,
        code: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """Add one exchange with Graph: its step, and how it ended.

        ``graph_request_id`` is the id that Microsoft's support asks for, ``code`` is a word of
        Graph's own (``endings.py``), and ``call_id`` is the client-request-id of this call.
        """
        if self.endings.get(step, "answered") != "answered":
            self.metrics.upstream_retry("graph", step)
        self.endings[step] = ending
        shown = "-" if status is None else status
        told = f"{step}:{shown}:{ending}:{graph_request_id or '-'}:{seconds * 1000:.0f}ms"
        self.calls.append((told, code or "-", call_id or "-"))

    def bug(self, error: BaseException) -> None:
        """Note where a bug of ours struck.

        It notes the kinds of the errors and the lines of code, never their texts, which may quote
        what a caller sent.
        """
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        places = ",".join(
            f"{PurePath(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in frames
        )
        self.cause = type(error).__name__
        self.note(error=self.cause, at=places)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect what ``tell`` is told in this context, and on threads that are given a copy."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def write(self, status: int, code: str) -> None:
        """Write the events and the one line of this request, and count its answer.

        A fault of ours or of our set-up is an error.
        """
        events, self.events = self.events, []  # what comes from now on is counted, and not written
        for log, event_level, event in events:
            log.log(event_level, "%s requestId=%s", event, self.request_id)
        seconds = self.now() - self.started_at
        level = logging.ERROR if code in ("misconfigured", "internal_error") else logging.INFO
        _log.log(level, "event=request %s", self._line(status, code, seconds))
        confirmed, replayed = (self.facts.get(name) is True for name in ("confirmed", "replayed"))
        self.metrics.answered(
            self.action,
            status,
            code,
            seconds,
            cause=self.cause,
            confirmed=confirmed,
            replayed=replayed,
        )

    def _line(self, status: int, code: str, seconds: float) -> str:
        fields: dict[str, object] = {
            "status": status,
            "code": code,
            "ms": round(seconds * 1000, 1),
            "requestId": self.request_id,
        }
        if self.correlation_id:
            fields["correlationId"] = self.correlation_id
        if self.action:
            fields["action"] = self.action
        fields |= self.facts  # in one step, as is the join: late work may still be adding
        if calls := tuple(self.calls):
            # One entry for each call, in the same order; what no call has is left out.
            graph, *more = zip(*calls, strict=True)
            fields["graph"] = ",".join(graph)
            for name, values in zip(("codes", "callIds"), more, strict=True):
                if set(values) != {"-"}:
                    fields[name] = ",".join(values)
        return _in_one_line(fields)


_current: ContextVar[Journal | None] = ContextVar("journal", default=None)


def tell(
    log: logging.Logger, level: int, event: Event, words: str = "", *values: str | float | None
) -> None:
    """Tell an operator of something beside the answer.

    It is counted at once, and becomes a line of the request that is being carried out. Outside of
    any request it is a line at once, which the Functions host does not pass on. ``words`` are
    name=value, as a format of ``logging``.
    """
    line = f"event={event} {words % values}".rstrip()
    journal = _current.get()
    if journal is None:
        log.log(level, "%s", line)
    else:
        journal.metrics.happened(event)
        journal.events.append((log, level, line))


def read_correlation_id(header: str | None) -> str | None:
    """Return the caller's correlation id if it is one.

    Anything else is ignored, because no cancel should fail for it.
    """
    return (
        header.strip() if header is not None and _CORRELATION_ID.fullmatch(header.strip()) else None
    )


@lru_cache(maxsize=1024)  # people and mailboxes come again
def pseudonym(*parts: str) -> str:
    """Return a short hash that stands for a person or a mailbox.

    They can be followed through the log without being named.
    """
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:12]


def _in_one_line(fields: Mapping[str, object]) -> str:
    """Return name=value for all fields.

    Almost always all are plain, which one look at the whole line tells sooner than one at each.
    """
    line = " ".join(
        [
            f"{name}={_WORDS[value] if isinstance(value, bool) else value}"
            for name, value in fields.items()
        ]
    )
    if line.count(" ") == len(fields) - 1 and _PLAIN_LINE.fullmatch(line) and "= " not in line:
        return line
    return " ".join([f"{name}={_plain(value)}" for name, value in fields.items()])


def _plain(value: object) -> str:
    """Return a value fit for a line of name=value.

    It is printable ASCII, in quotation marks where it holds a space.
    """
    text = _WORDS[value] if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    text = _NOT_PLAIN.sub("_", text)
    return f'"{text}"' if " " in text or not text else text
