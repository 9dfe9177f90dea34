"""The truth beside the protocol: one appointment, who cancelled it, and what no answer may break.

What is assumed of Graph:

- It carries out cancels of one appointment one at a time, and the second finds nothing.
- What it refused in its own form had no effect.
- What it answered with a conflict, or with a 404 that names no item, had no effect or had it at
  once.
- A 404 of the item may also mean "not visible to this user". But Graph does not hide from a request
  what it has shown to it and what still stands.
- A 404 without a body may be anybody's. A 404 of the mailbox comes and goes.
"""

from dataclasses import dataclass, field

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from shared.errors import (
    FacadeError,
    IdempotencyKeyReused,
    OutcomeUnknown,
    RequestInProgress,
    Throttled,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.endings import GraphAnswer
from shared.serving.problems import TABLE
from tests.protocol.alphabet import APPOINTMENT, Landing

GONE = GraphAnswer(404, codes=("ErrorItemNotFound",))
DONE = GraphAnswer(204)
STANDS = GraphAnswer(200, resource={"id": APPOINTMENT})


class Violation(AssertionError):
    """The protocol did or said what it never may."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller sends, and to which instance of the service.

    A new instance knows only what the store keeps.
    """

    key: str | None
    instance: int = 1
    message: str = "Sorry."

    def __str__(self) -> str:
        return f"key {self.key}, message {self.message}, instance {self.instance}"


@dataclass(slots=True, eq=False)
class Run:
    """One request under way, and what is known of it from outside."""

    ask: Ask
    opened_at: float
    ends_at: float
    holds: bool = False  # it claimed its records, and did not settle them
    store_down: bool = False
    store_hides: bool = False
    blind: bool = False  # its records could not be had
    told: bool = False  # that somebody had a record, and not what it said
    dead: bool = False
    stalled: bool = False
    saw_it: bool = False  # one of its looks saw the appointment standing
    calls: list[str] = field(default_factory=list)
    arrived: int = 0  # of its calls, at Graph
    due: CancelOutcome | None = None  # what the store gave it to be replayed
    kept: CancelOutcome | None = None  # what it wrote down to be replayed
    answer: CancelOutcome | FacadeError | None = None
    answered_at: float = 0.0


@dataclass(slots=True, eq=False)
class Post:
    """One cancel that was sent.

    ``open``: nobody can know whether it took effect, and nobody has seen the appointment standing
    since.
    """

    by: Run
    sent_at: float
    open: bool = False
    effective: bool = False
    landing: Landing = Landing.NEVER
    forgotten: bool = False  # the store dropped its record, and says that it dropped one


class World:
    """One appointment, and everything that one user sends about it."""

    watches_looks = True  # off where a test asks which promise breaks without them

    def __init__(self, *, exists: bool) -> None:
        self.existed = exists
        self.stands = exists
        self.posts: list[Post] = []
        self.runs: list[Run] = []
        self._under_way: list[Post] = []

    @property
    def mails(self) -> int:
        """Graph mails the customer once for each cancel that took effect."""
        return sum(post.effective for post in self.posts)

    def post(self, run: Run, now: float) -> Post:
        """Take in a cancel."""
        self.land(Landing.BEFORE_NEXT_CALL, Landing.BEFORE_NEXT_CANCEL)
        for earlier in self.posts:
            if (
                self.watches_looks
                and earlier.open
                and earlier.by.opened_at <= run.opened_at
                and left_a_trace(earlier, run)
            ):
                raise Violation(
                    "a cancel was sent, and nobody had looked since one before went unanswered"
                )
        post = Post(run, now)
        self.posts.append(post)
        return post

    def carry_out(self, post: Post) -> GraphAnswer:
        """Let a cancel take effect, if there is something to cancel."""
        if not self.stands:
            return GONE
        self.stands = False
        post.effective = True
        return DONE

    def carry_out_later(self, post: Post, landing: Landing) -> None:
        """Leave a cancel under way."""
        post.landing = landing
        self._under_way.append(post)

    def look(self, run: Run) -> GraphAnswer:
        """Show the appointment."""
        if not self.stands:
            return GONE
        run.saw_it = True
        for post in self.posts:
            post.open = False
        return STANDS

    def land(self, *landings: Landing) -> None:
        """Let the cancels take effect that wait for this."""
        self._land([post for post in self._under_way if post.landing in landings])

    def land_what_was_left_by(self, run: Run) -> None:
        """Let the cancels take effect that wait for the end of this run."""
        self._land(
            [
                post
                for post in self._under_way
                if post.landing is Landing.AFTER_RUN and post.by is run
            ]
        )

    def _land(self, posts: list[Post]) -> None:
        for post in posts:
            self._under_way.remove(post)
            self.carry_out(post)

    def state(self) -> tuple[object, ...]:
        """Return what decides what can still happen, and what may still be said."""
        posts = frozenset(
            (post.by.ask, post.by.blind, post.open, post.effective, post.landing)
            for post in self.posts
        )
        said = frozenset(
            (
                run.ask,
                _said(run.answer),
                sum(post.sent_at < run.answered_at for post in self._under_way),
            )
            for run in self.runs
            if run.answer is not None
        )
        return self.stands, posts, said, len(self._under_way)

    def forget(self) -> None:
        """Let nobody find the records of what was sent so far."""
        for post in self.posts:
            post.forgotten = True

    def check_alone(self, run: Run) -> None:
        """Check that nobody sends a call beside one who has the record and can still use it."""
        for other in self.runs:
            if (
                other.holds
                and other is not run
                and not (other.answered_at or other.dead or other.stalled or run.blind)
            ):
                raise Violation("two requests were carried out at once")

    def check(self, run: Run) -> None:
        """Check an answer at the moment when it is given."""
        answer = run.answer
        if not run.stalled and run.answered_at > run.ends_at + 1e-9:
            raise Violation("the answer came after the deadline")
        if run.due is not None and not run.blind:
            if (
                not isinstance(answer, CancelOutcome)
                or not answer.replayed
                or not _same(answer, run.due)
            ):
                raise Violation(
                    "a finished request was answered with something else than its first answer"
                )
        elif isinstance(answer, CancelOutcome) and answer.replayed:
            raise Violation("a replay of what was never said")
        if isinstance(answer, CancelOutcome):
            self._check_outcome(run, answer)
        elif not isinstance(answer, FacadeError) or not any(
            cause in TABLE for cause in type(answer).__mro__
        ):
            raise Violation("neither an outcome nor an error of the contract")

    def _check_outcome(self, run: Run, answer: CancelOutcome) -> None:
        if answer.replayed and answer.outcome is Outcome.NOT_FOUND and run.ask.key is None:
            raise Violation("not_found was replayed by nature")
        if run.kept is not None and not _same(answer, run.kept):
            raise Violation("something else was kept than was said")
        if answer.outcome is Outcome.CANCELLED:
            if not self.existed:
                raise Violation("cancelled was said of what never existed")
            if self.stands:
                raise Violation("cancelled was said of what still stands")
        elif answer.confirmed and not answer.replayed:
            if run.blind:
                raise Violation("a 404 was confirmed although the store could not be read")
            if answer.missing is Missing.BUSINESS and run.arrived != 1:
                raise Violation("a missing business was confirmed by more than the only call")
            self._check_confirmed_not_found(run)

    def _check_confirmed_not_found(self, run: Run) -> None:
        for post in self.posts:
            told = left_a_trace(post, run) or (post.forgotten and not run.blind)
            if post.effective and post.sent_at < run.answered_at and told:
                raise Violation(
                    "not_found, confirmed was said of what this caller's own request cancelled"
                )

    def check_healthy_repeat(self, run: Run) -> None:
        """Check the answer to a repeat for which Graph and the store were well."""
        answer = run.answer
        if not isinstance(answer, CancelOutcome):
            raise Violation("a repeat on a healthy world found no outcome")
        if answer.replayed and answer.outcome is Outcome.NOT_FOUND and run.ask.key is not None:
            return  # what a key was told once is what it is told
        if self.stands or self.mails != self.existed:
            raise Violation(
                "after a repeat on a healthy world the appointment stands, "
                "or not exactly one cancel took effect"
            )

    def check_end(self) -> None:
        """Check the whole, once nothing is under way any more.

        A replay quotes what was true when it was said first.
        """
        if self.mails > 1:
            raise Violation("the customer got two mails")
        for run in self.runs:
            answer = run.answer
            if isinstance(answer, FacadeError):
                self._check_error(run, answer)
            if (
                isinstance(answer, CancelOutcome)
                and answer.outcome is Outcome.NOT_FOUND
                and answer.confirmed
                and not answer.replayed
            ):
                self._check_confirmed_not_found(run)  # again, now that all cancels have landed

    def _check_error(self, run: Run, error: FacadeError) -> None:
        """Check that nothing is told as if nothing had been sent that took effect after all."""
        if isinstance(error, OutcomeUnknown | RequestInProgress | IdempotencyKeyReused):
            return
        still_stood = "still stood" in error.reason
        unchanged = "nothing was changed" in error.reason
        passing = isinstance(error, Throttled | UpstreamUnavailable | UpstreamBroken)
        for post in self.posts:
            if not post.effective:
                continue
            if post.by is run and not still_stood:
                raise Violation("an error was told as if nothing had been sent")
            before = post.sent_at < run.opened_at
            if unchanged and before and (run.blind or post.forgotten):
                raise Violation("nothing was changed was said where nobody could know")
            known = before and left_a_trace(post, run)
            if post.by is not run and known and (passing or "cancel" in run.calls):
                raise Violation("an error was told as if nothing had been sent before")


def left_a_trace(post: Post, run: Run) -> bool:
    """Say whether ``run`` could find a trace of this post.

    One that was sent while the store was down left it in its worker alone. A store that hides its
    records tells that there is one of what was sent before.
    """
    if post.by is run:
        return True
    if post.forgotten or (run.blind and not (run.told and post.sent_at < run.opened_at)):
        return False
    return not post.by.blind or run.ask.instance == post.by.ask.instance


def _said(answer: CancelOutcome | FacadeError | None) -> object:
    return answer if isinstance(answer, CancelOutcome) else type(answer)


def _same(one: CancelOutcome, other: CancelOutcome) -> bool:
    return (one.outcome, one.confirmed) == (other.outcome, other.confirmed)
