"""One schedule: a request, what comes between it and its end, and the repeats that follow.

The real protocol runs it, on a virtual clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cancel_appointment.bookings import Appointments
from cancel_appointment.cancellation import Cancellation
from cancel_appointment.records import LEASE_MARGIN_S, Records
from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken
from shared.errors import (
    FacadeError,
    IdempotencyKeyReused,
    InteractionRequired,
    RequestInProgress,
)
from shared.graph.client import GraphRequest
from shared.graph.endings import NoAnswer, Seen
from shared.identity.caller import Caller
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.waiting import Waiting
from tests.protocol.alphabet import APPOINTMENT, TRUE, Landing, Letter
from tests.protocol.choices import Choices, every_path
from tests.protocol.setting import Death, Interference, Outage, Setting, Visit
from tests.protocol.store import Dead, WatchedStore, records_in
from tests.protocol.timeline import Timeline
from tests.protocol.world import Ask, Run, Violation, World

DEADLINE_S = 10.0
LEASE_S = DEADLINE_S + LEASE_MARGIN_S
QUICK_S = 0.1
CALLER = Caller(
    "tenant", "user", "client", 2e9, can_answer_challenges=True, assertion="", fingerprint=b""
)
TOKEN = GraphToken("user", "tenant", "")
REQUESTS = {
    message: CancelRequest(
        businessId="b@contoso.example", appointmentId=APPOINTMENT, cancellationMessage=message
    )
    for message in ("Sorry.", "No.")
}
LATE_DEATHS = {
    Death.AFTER_LATE: Landing.BEFORE_NEXT_CALL,
    Death.AFTER_LATER: Landing.BEFORE_NEXT_CANCEL,
}

type Explored = dict[object, tuple[int, ...]]


class Simulation:
    """Everything that the protocol is given: Graph, Entra, time and chance, and the store."""

    def __init__(
        self, setting: Setting, choices: Choices, timeline: Timeline, explored: Explored
    ) -> None:
        timeline.now = 1_000.0
        self.world = World(exists=setting.exists)
        self.run: Run
        self._setting = setting
        self._choices = choices
        self._timeline = timeline
        self._store = WatchedStore(self.now, self)
        self._workers: dict[int, Cancellation[Caller]] = {}
        self._explored = explored
        self._scripted = setting.exchanges
        self._interference = setting.interference
        self._trouble: BaseException | None = None
        self._signed_out = False

    def play(self) -> None:
        """Play one schedule to its end; a Violation says what went wrong."""
        ask = self._setting.first_ask
        first = self._request(ask)
        self._timeline.finish()
        if self._trouble is not None:
            raise self._trouble
        if self._was_explored(first):
            return
        if first.holds:
            self._repeat_too_early(first)
        if self._setting.interference is Interference.STORE_FULL:
            self._store.forget()
            self.world.forget()
        repeats = self._choices.choose(self._repeats(first))
        if self._setting.interference is Interference.STORE_HIDES:
            self._request(repeats[0], Outage.HIDES)
        for repeat in repeats if self._scripted else ():
            self._repeat(repeat, first)
        self._scripted = 0
        for repeat in repeats:
            self.world.check_healthy_repeat(self._repeat(repeat, first))
        self.world.check_end()

    @staticmethod
    def _repeats(first: Run) -> list[tuple[Ask, Ask]]:
        """Return who may come next, at a worker that remembers nothing.

        The same request again, and one for the same appointment from elsewhere.
        """
        same, other = (
            replace(first.ask, instance=2),
            Ask("L" if first.ask.key is None else None, instance=2),
        )
        if first.dead:
            return [(same, other), (other, same)]
        here = [(first.ask, other), (other, first.ask)]
        return [*here, (same, other)] if first.blind else here

    def _was_explored(self, first: Run) -> bool:
        """Say whether another path led to the same state.

        Then the same repeats would follow, and they were played.
        """
        memories = frozenset(
            (number, *(key for key, _ in records_in(worker._records._unrecorded)))
            for number, worker in self._workers.items()
            if worker._records._unrecorded._size
        )
        outside = (
            self._scripted,
            first.holds,
            first.blind,
            first.dead,
            first.stalled,
            memories,
        )
        path = self._choices.path
        return (
            self._explored.setdefault((outside, self._store.state(), self.world.state()), path)
            != path
        )

    def _repeat_too_early(self, first: Run) -> None:
        """Nobody may act on a record before its lease is over, although its run is gone."""
        early = self._request(replace(first.ask, instance=2))
        if early.calls or not (isinstance(early.answer, RequestInProgress) or early.due):
            raise Violation("a repeat acted on a record that was claimed")
        self._timeline.spend(LEASE_S)

    def _repeat(self, ask: Ask, first: Run) -> Run:
        run = self._request(ask)
        if isinstance(run.answer, RequestInProgress):
            raise Violation("nobody is carrying the request out")
        if first.holds and run.calls and run.calls[0] != "look":
            raise Violation("the first step on an abandoned record was not the look")
        first.holds = False
        return run

    def _request(self, ask: Ask, outage: Outage | None = None) -> Run:
        self._signed_out = False
        run = self.run = Run(
            ask,
            self.now(),
            self.now() + DEADLINE_S,
            store_down=outage is Outage.FROM_HERE,
            store_hides=outage is Outage.HIDES,
        )
        self.world.runs.append(run)
        worker = self._workers.get(ask.instance)
        if worker is None:
            worker = self._workers[ask.instance] = Cancellation(
                self,
                self,
                Appointments((), ""),
                Records(self._store, self.sleep, deadline_s=DEADLINE_S),
                Waiting(self.now, self.sleep, self.random),
            )
        try:
            run.answer = worker.run(
                CALLER,
                REQUESTS[ask.message],
                ask.key,
                Deadline(run.ends_at, self.now),
                Journal("", self.now),
            )
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
        if self._interference is not kind or self.run is not self.world.runs[0]:
            return None
        chosen = self._choices.choose((None, *options))
        if chosen is not None:
            self._interference = Interference.NOTHING
        return chosen

    def death(self, *options: Death) -> Death | None:
        """Choose whether the worker dies here. Dead stays dead: raises Dead."""
        if self.run.dead:
            raise Dead
        death = self._meddle(Interference.DEATH, options)
        self.run.dead = death is not None
        return death

    def outage(self) -> Outage | None:
        """Choose whether the store fails here."""
        if self.run.store_down:
            return Outage.FROM_HERE
        if self.run.store_hides:
            return Outage.HIDES
        outage = self._meddle(
            Interference.STORE_DOWN, (Outage.ONCE, Outage.ONCE_DONE, Outage.FROM_HERE)
        )
        self.run.store_down = outage is Outage.FROM_HERE
        return outage

    def _invite(self, visit: Visit, after_s: float) -> None:
        def arrive() -> None:
            try:
                run = self._request(visit.ask, visit.outage)
                if visit.ask.message != self._setting.first_ask.message and not isinstance(
                    run.answer, IdempotencyKeyReused
                ):
                    raise Violation("a key was taken for two bodies")
            except BaseException as trouble:  # noqa: BLE001 - play() raises it
                self._trouble = trouble

        self._timeline.start(after_s, arrive)

    def _spend(self, seconds: float, visit: Visit | None) -> None:
        """Let time pass; where the worker freezes, more than the lease of its record."""
        run = self.run
        if visit is not None and visit.frozen:
            run.stalled = True
            seconds = LEASE_S + 4
            self._invite(visit, seconds - 3)
        elif visit is not None:
            self._invite(visit, seconds / 2)
        self._timeline.spend(seconds)
        self.run = run

    # Graph.

    def call(
        self,
        request: GraphRequest,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        """Carry out a cancel or a look."""
        return self._cancel(timeout_s) if request.step == "cancel" else self._look(timeout_s)

    def _cancel(self, timeout_s: float) -> Seen:
        """Cancel, in one of the ways of the alphabet."""
        self._begin_call("cancel", timeout_s)
        post = self.world.post(self.run, self.now())
        death = self.death(*self._setting.deaths_at_a_cancel)
        if death is not None:
            post.open = True
            if death is Death.AFTER:
                self.world.carry_out(post)
            elif death in LATE_DEATHS:
                self.world.carry_out_later(post, LATE_DEATHS[death])
            raise Dead
        letter = self._draw("cancel")
        visit = self._meddle(Interference.DUPLICATE, self._setting.visits_at_a_call)
        at_once = letter.landing is Landing.AT_ONCE or (
            letter.seen is None and self._comes_first(visit)
        )
        seen = self.world.carry_out(post) if at_once else None
        frozen = visit is not None and visit.frozen
        post.open = frozen  # nobody waits for its answer any longer
        self._spend(timeout_s if letter.times_out else QUICK_S, visit)
        post.open = letter.doubtful and (post.open or not frozen)
        if letter.landing not in (Landing.NEVER, Landing.AT_ONCE):
            self.world.carry_out_later(post, letter.landing)
        return letter.seen or seen or self.world.carry_out(post)

    def _look(self, timeout_s: float) -> Seen:
        """Look, in one of the ways of the alphabet."""
        self._begin_call("look", timeout_s)
        self.world.land(Landing.BEFORE_NEXT_CALL)
        if self.death(Death.BEFORE):
            raise Dead
        letter = self._draw("look")
        visit = self._meddle(Interference.DUPLICATE, self._setting.visits_at_a_call)
        seen = (
            self.world.look(self.run) if letter.seen is None and self._comes_first(visit) else None
        )
        self._spend(timeout_s if letter.times_out else QUICK_S, visit)
        return letter.seen or seen or self.world.look(self.run)

    def _begin_call(self, step: str, timeout_s: float) -> None:
        if self.run.dead:
            raise Dead
        if self.now() + timeout_s > self.run.ends_at + 1e-9:
            raise Violation("a call was sent that may last beyond the deadline")
        first = not self.run.calls
        if self.world.watches_looks and self.run.told and first and step != "look":
            raise Violation("the first step beside a hidden record was not the look")
        self.world.check_alone(self.run)
        self.run.calls.append(step)

    def _draw(self, step: str) -> Letter:
        letter = TRUE
        if self._scripted:
            self._scripted -= 1
            may_hide = not (self.run.saw_it and self.world.stands)
            letter = self._choices.choose(self._setting.letters[step, may_hide])
        self.run.arrived += not (isinstance(letter.seen, NoAnswer) and not letter.seen.sent)
        self._signed_out = letter.signs_out
        return letter

    def _comes_first(self, visit: Visit | None) -> bool:
        """Choose whether Graph carries a call out before or after a duplicate.

        The duplicate may send calls of its own meanwhile.
        """
        return (
            visit is not None
            and (visit.outage is not None or visit.frozen)
            and self._choices.choose((False, True))
        )

    # Entra, time and chance.

    def exchange(
        self,
        caller: Caller,
        deadline: Deadline,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        """Give a token. Errors: InteractionRequired, where the letter says so."""
        self.sleep(QUICK_S)
        if self._signed_out:
            raise InteractionRequired("Sign in again.")
        return TOKEN

    def now(self) -> float:
        """Return the time."""
        return self._timeline.now

    def sleep(self, seconds: float) -> None:
        """Pause; the worker may die or freeze meanwhile, and a duplicate may come."""
        if self.death(Death.BEFORE):
            raise Dead
        self._spend(seconds, self._meddle(Interference.DUPLICATE, self._setting.visits_between))

    def random(self) -> float:
        """Return the middle: pauses only matter by the time that they take."""
        return 0.5


def every_schedule(setting: Setting) -> Iterator[World]:
    """Play every schedule of a setting and return the world that each one left.

    Errors: Violation, naming the schedule.
    """
    explored: Explored = {}
    timeline = Timeline()
    try:
        for choices in every_path():
            simulation = Simulation(setting, choices, timeline, explored)
            try:
                simulation.play()
            except Exception as error:
                raise Violation(f"{error!r} [{setting}: {choices}]") from error
            yield simulation.world
    finally:
        timeline.close()
