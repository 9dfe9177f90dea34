"""One schedule: a request, what comes between it and its end, and the repeats that follow. The real protocol runs it, on a virtual clock.

A schedule is a path of choices. The first ``exchanges`` calls to Graph, in whichever run they happen, go in any way of the alphabet; all later ones truly.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from cancel_appointment.cancellation import Cancellation
from cancel_appointment.outcome import CancelOutcome, Outcome
from cancel_appointment.records import Keep, Records
from cancel_appointment.request import CancelRequest
from shared.caller import Caller
from shared.deadline import Deadline
from shared.errors import FacadeError, RequestInProgress
from shared.idempotency import Abandoned, Begun, Claim, MemoryStore, Mismatch, New, Replay, StoreUnavailable
from shared.on_behalf_of import GraphToken
from shared.retry import Seen
from shared.telemetry import Journal
from tests.protocol.alphabet import STALLED, TRUE, Landing, Letter, Pace
from tests.protocol.choices import Choices, every_path
from tests.protocol.timeline import Timeline
from tests.protocol.world import Ask, Post, Run, Violation, World

DEADLINE_S = 10.0
KEEP = Keep.for_deadline(DEADLINE_S)
QUICK_S = 0.1
STALL_S = KEEP.lease_s + 4.0
CALLER = Caller("tenant", "user", "client", 2e9, can_answer_challenges=True, assertion="")
TOKEN = GraphToken("user", "tenant", "")
REQUESTS = {
    message: CancelRequest(businessId="b@contoso.example", appointmentId="AAMk", cancellationMessage=message) for message in ("Sorry.", "No.")
}


class Interference(Enum):
    """What else goes wrong: once in a schedule, at any point of the first request."""

    NOTHING = "nothing"
    DUPLICATE = "a duplicate"
    DEATH = "death of the worker"
    STORE_DOWN = "store down"


class Death(Enum):
    """When a worker dies, seen from the step that it was at."""

    BEFORE = "dies before it"
    AFTER = "dies after it"
    AFTER_LATE = "dies after it, effect before the next call"
    AFTER_LATER = "dies after it, effect between the next look and the next cancel"


LATE_DEATHS = {Death.AFTER_LATE: Landing.BEFORE_NEXT_CALL, Death.AFTER_LATER: Landing.BEFORE_NEXT_CANCEL}


class Outage(Enum):
    """How the store fails."""

    ONCE = "store fails once"
    ONCE_DONE = "store does it and fails to say so"
    FROM_HERE = "store fails until the request ends"


DEATHS, OUTAGES = tuple(Death), tuple(Outage)


class Dead(BaseException):
    """The process is gone: nothing of its code has an effect any more."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A duplicate that arrives while the first request is under way. ``store_down``: for this one only; ``frozen``: the first one stalls past its lease."""

    ask: Ask
    store_down: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class Setting:
    """What the schedules of one enumeration have in common."""

    exists: bool
    keyed: bool
    interference: Interference
    cancels: Sequence[Letter]
    looks: Sequence[Letter]
    exchanges: int = 4

    @property
    def name(self) -> str:
        """Name it for a person."""
        return f"{'an' if self.exists else 'no'} appointment, {'with' if self.keyed else 'without'} a key, {self.interference.value}"

    @property
    def first_ask(self) -> Ask:
        """The request that everything is about."""
        return Ask("K" if self.keyed else None)

    @cached_property
    def visits(self) -> tuple[list[Visit], list[Visit]]:
        """Return the duplicates that may come while an exchange is under way, and while none is.

        To one that can read the records, the time between two exchanges is no different from the exchanges: it comes there only when the first one freezes.
        """
        own, other = self.first_ask, Ask("L" if self.keyed else "K")
        asks = [own, other, *([Ask(None), replace(own, message="No.")] if self.keyed else [])]
        visits = [Visit(ask) for ask in asks]
        without_store = [Visit(replace(own, instance=instance), store_down=True) for instance in (1, 2)]
        frozen = [replace(visit, frozen=True) for visit in (*visits, *without_store)]
        return [*visits, *without_store], [*without_store, *frozen]

    @cached_property
    def letters(self) -> dict[tuple[str, bool, bool], list[Letter]]:
        """Return the letters that make a difference, by the step, whether Graph may hide the appointment, and whether the worker may stall."""
        return {
            (step, may_hide, may_stall): [
                letter
                for letter in (*letters, *(STALLED if may_stall else ()))
                if (self.exists or letter.landing is Landing.NEVER) and ((may_hide and self.exists) or not letter.hides)
            ]
            for step, letters in (("cancel", self.cancels), ("look", self.looks))
            for may_hide in (True, False)
            for may_stall in (True, False)
        }


class Simulation:
    """Everything that the protocol is given: Graph, Entra, the store, time and chance."""

    def __init__(self, setting: Setting, choices: Choices, timeline: Timeline, explored: dict[object, tuple[int, ...]]) -> None:
        timeline.now = 1_000.0
        self.world = World(exists=setting.exists)
        self._setting = setting
        self._choices = choices
        self._timeline = timeline
        self._store = MemoryStore(self.now)
        self._workers: dict[int, Cancellation] = {}
        self._run = Run(setting.first_ask, timeline.now, timeline.now)
        self._explored = explored
        self._scripted = setting.exchanges
        self._interference = setting.interference
        self._kept: dict[str, CancelOutcome] = {}
        self._failure: BaseException | None = None

    def play(self) -> None:
        """Play one schedule to its end; a Violation says what went wrong."""
        ask = self._setting.first_ask
        first = self._request(ask)
        self._timeline.finish()
        if self._failure is not None:
            raise self._failure
        if self._was_explored(first):
            return
        if first.holds_nature or first.holds_key:
            self._repeat_too_early(first)
        same = replace(ask, instance=2) if first.dead else ask
        other = Ask("L" if ask.key is None else None, instance=2)
        repeats = [same, other] if self._choices.choose((True, False)) else [other, same]
        for repeat in repeats if self._scripted else ():
            self._repeat(repeat, after=first)
        self._scripted = 0
        for repeat in repeats:
            self.world.check_healthy_repeat(self._repeat(repeat, after=first))
        self.world.check_end()

    def _was_explored(self, first: Run) -> bool:
        """Say whether another path led to the same state, so that its repeats would be the same again. Nothing here lives as long as the records are kept."""
        workers = tuple(sorted((number, *worker._records._unrecorded._natures) for number, worker in self._workers.items()))
        records = frozenset((key, queue[key].state, queue[key].payload) for key, queue in self._store._queue_of.items())
        state = (self._scripted, first.holds_nature, first.holds_key, first.dead, first.stalled, workers, records, self.world.state())
        path = self._choices.path
        return self._explored.setdefault(state, path) != path

    def _repeat_too_early(self, first: Run) -> None:
        """Nobody may act on a record before its lease is over, although its run is gone."""
        early = self._request(replace(first.ask, instance=2))
        if early.calls or not (isinstance(early.answer, RequestInProgress) or early.due):
            raise Violation("a repeat acted on a record that was claimed")
        self._timeline.spend(KEEP.lease_s)

    def _repeat(self, ask: Ask, *, after: Run) -> Run:
        run = self._request(ask)
        if isinstance(run.answer, RequestInProgress):
            raise Violation("nobody is carrying the request out")
        abandoned = after.holds_nature or (after.holds_key and ask.key == after.ask.key)
        if abandoned and run.calls and run.calls[0] != "look":
            raise Violation("the first step on an abandoned record was not the look")
        after.holds_nature = after.holds_key = False
        return run

    def _request(self, ask: Ask, *, store_down: bool = False) -> Run:
        run = self._run = Run(ask, self.now(), self.now() + DEADLINE_S, store_down=store_down)
        self.world.runs.append(run)
        worker = self._workers.get(ask.instance)
        if worker is None:
            worker = self._workers[ask.instance] = Cancellation(self, self, Records(self, KEEP, self.sleep), self)
        try:
            run.answer = worker.run(CALLER, REQUESTS[ask.message], ask.key, Deadline(run.ends_at, self.now), Journal("", self.now))
        except FacadeError as error:
            run.answer = error
        except Dead:
            run.dead = True
        if not run.dead:
            run.answered_at = self.now()
            self.world.check(run)
        self.world.land_what_was_left_by(run)
        return run

    # What comes between.

    def _meddle[T](self, kind: Interference, options: Sequence[T]) -> T | None:
        """Choose whether the interference of this schedule happens here."""
        if self._interference is not kind or self._run is not self.world.runs[0]:  # the first run only
            return None
        chosen = self._choices.choose((None, *options))
        if chosen is not None:
            self._interference = Interference.NOTHING
        return chosen

    def _may_die(self, *deaths: Death) -> Death | None:
        """Choose whether the worker dies here; a dead one stays dead."""
        if self._run.dead:
            raise Dead
        death = self._meddle(Interference.DEATH, deaths)
        self._run.dead = death is not None
        return death

    def _may_be_visited(self, *, frozen: bool) -> Visit | None:
        return self._meddle(Interference.DUPLICATE, self._setting.visits[frozen])

    def _invite(self, visit: Visit, after_s: float) -> None:
        def arrive() -> None:
            try:
                self._request(visit.ask, store_down=visit.store_down)
            except BaseException as error:  # noqa: BLE001 - told by play()
                self._failure = error

        self._timeline.start(after_s, arrive)

    def _spend(self, seconds: float) -> None:
        run = self._run
        self._timeline.spend(seconds)
        self._run = run

    def _pause(self, seconds: float) -> None:
        """Let time pass outside of an exchange; a worker may freeze, and a duplicate may come."""
        visit = self._may_be_visited(frozen=True)
        if visit is not None:
            self._invite(visit, KEEP.lease_s + 1 if visit.frozen else seconds / 2)
            seconds = STALL_S if visit.frozen else seconds
            self._run.stalled = visit.frozen
        self._spend(seconds)

    # Graph.

    def cancel(self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float) -> Seen:
        """Cancel, in one of the ways of the alphabet."""
        self._begin_call("cancel", timeout_s)
        post = self.world.post(self._run, self.now())
        death = self._may_die(*(DEATHS if self._setting.exists else DEATHS[:1]))
        if death is not None:
            post.open = True
            if death in LATE_DEATHS:
                self.world.carry_out_later(post, LATE_DEATHS[death])
            elif death is Death.AFTER:
                self.world.carry_out(post)
            raise Dead
        letter = self._draw("cancel")
        visit = self._may_be_visited(frozen=False)
        at_first = letter.first or (visit is not None and letter.seen is None and visit.store_down and self._choices.choose((False, True)))
        seen = self.world.carry_out(post) if letter.landing is Landing.AT_ONCE or at_first else None
        self._take_time(letter, visit, timeout_s)
        if letter.seen is None:
            return seen or self.world.carry_out(post)
        if letter.landing not in (Landing.NEVER, Landing.AT_ONCE):
            self.world.carry_out_later(post, letter.landing)
        post.open = letter.doubtful
        return letter.seen

    def look(self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float) -> Seen:
        """Look, in one of the ways of the alphabet."""
        self._begin_call("look", timeout_s)
        self.world.land(Landing.BEFORE_NEXT_CALL)
        if self._may_die(Death.BEFORE):
            raise Dead
        letter = self._draw("look")
        seen = self.world.look(self._run) if letter.first else None
        self._take_time(letter, self._may_be_visited(frozen=False), timeout_s)
        return letter.seen or seen or self.world.look(self._run)

    def _begin_call(self, step: str, timeout_s: float) -> None:
        if self._run.dead:
            raise Dead
        if self.now() + timeout_s > self._run.ends_at + 1e-9:
            raise Violation("a call was sent that may last beyond the deadline")
        self._run.calls.append(step)

    def _draw(self, step: str) -> Letter:
        if not self._scripted:
            return TRUE
        self._scripted -= 1
        may_stall = self._setting.interference is Interference.DUPLICATE and self._run is self.world.runs[0]
        may_hide = not (self._run.saw_it and self.world.stands)
        return self._choices.choose(self._setting.letters[step, may_hide, may_stall])

    def _take_time(self, letter: Letter, visit: Visit | None, timeout_s: float) -> None:
        stalled = letter.pace is Pace.STALLED
        seconds = STALL_S if stalled else timeout_s if letter.pace is Pace.TIME_OUT else QUICK_S
        self._run.stalled = self._run.stalled or stalled
        if visit is not None:
            self._invite(visit, KEEP.lease_s + 1 if stalled else seconds / 2)
        self._spend(seconds)

    # Entra, time and chance.

    def exchange(self, caller: Caller, deadline: Deadline, *, claims: str | None = None) -> GraphToken:
        """Give a token."""
        if self._may_die(Death.BEFORE):
            raise Dead
        self._pause(QUICK_S)
        return TOKEN

    def forget(self, caller: Caller) -> None:
        """Nothing is cached here."""

    def now(self) -> float:
        """Return the time."""
        return self._timeline.now

    def sleep(self, seconds: float) -> None:
        """Pause."""
        if self._may_die(Death.BEFORE):
            raise Dead
        self._pause(seconds)

    def random(self) -> float:
        """Return the middle: pauses only matter by the time that they take."""
        return 0.5

    # The store.

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """Claim a record, unless the store is down."""
        outage = self._may_fail()
        if outage not in (None, Outage.ONCE_DONE):
            self._run.blind = True
            raise StoreUnavailable("down")
        begun = self._store.begin(key, fingerprint, lease_s=lease_s, keep_s=keep_s)
        if isinstance(begun, New | Abandoned):
            if key in self._kept:
                raise Violation("a finished record was lost")
            self._hold(fingerprint, held=True)
        if outage is not None:
            self._run.blind = True
            raise StoreUnavailable("down")
        if isinstance(begun, Replay):
            self._run.due = self._kept[key]
        elif fingerprint and not isinstance(begun, Mismatch):
            self._run.had_key = True
            if self._may_die(Death.AFTER):
                raise Dead
        return begun

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """Write an outcome down, unless the store is down."""
        said = json.loads(payload)
        outcome = CancelOutcome(Outcome(said["outcome"]), confirmed=said["confirmed"])
        if not claim.fingerprint and outcome.outcome is not Outcome.CANCELLED:
            raise Violation("something else than cancelled was kept by nature")

        def complete() -> bool:
            done = self._store.complete(claim, payload, keep_s=keep_s)
            if done:
                self._kept[claim.key] = self._run.kept = outcome
            return done

        return self._settle(claim, complete)

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """Give a claim up, unless the store is down."""
        return self._settle(claim, lambda: self._store.release(claim, doubt=doubt, keep_s=keep_s))

    def close(self) -> None:
        """Nothing to let go of."""

    def _settle(self, claim: Claim, settle: Callable[[], bool]) -> bool:
        death = self._may_die(Death.BEFORE, Death.AFTER)
        if death is Death.BEFORE:
            raise Dead
        outage = self._may_fail()
        if outage not in (None, Outage.ONCE_DONE):
            raise StoreUnavailable("down")
        done = settle()
        self._hold(claim.fingerprint, held=False)
        if death is not None:
            raise Dead
        if outage is not None:
            raise StoreUnavailable("down")
        return done

    def _hold(self, fingerprint: str, *, held: bool) -> None:
        if fingerprint:
            self._run.holds_key = held
        else:  # by nature there is no fingerprint
            self._run.holds_nature = held

    def _may_fail(self) -> Outage | None:
        """Choose whether the store fails here."""
        if self._run.store_down:
            return Outage.FROM_HERE
        outage = self._meddle(Interference.STORE_DOWN, OUTAGES)
        self._run.store_down = outage is Outage.FROM_HERE
        return outage


def every_schedule(setting: Setting, timeline: Timeline) -> Iterator[Choices]:
    """Play every schedule of a setting. Errors: Violation, naming the schedule."""
    explored: dict[object, tuple[int, ...]] = {}

    def play(choices: Choices) -> None:
        try:
            Simulation(setting, choices, timeline, explored).play()
        except Violation as violation:
            raise Violation(f"{violation}: {setting.name}: {choices}") from violation

    return every_path(play)
