"""What one call costs once everything is warm, and when something is not.

It is set against what people would use instead.

Run it with ``python -m tests.benchmarks warm_call``. CPU is that of the subject's own process,
whatever the machine does beside it; the subjects take turns.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tests.benchmarks import Figure, figure
from tests.benchmarks.turns import Cost, Runner, runners
from tests.benchmarks.upstream import People, Upstream, upstream

ROUNDS = 15
CALLS = 60
FLOORS = ("floor: requests", "floor: urllib3")
SAMPLES = ("usual sample", "tuned sample")
FEW = {"usual sample": 3}  # it costs so much that three say enough
USERS = (1_000, 10_000)


def taking_turns(
    subjects: Mapping[str, Runner], users: int, *, kind: str = "", rounds: int = ROUNDS
) -> dict[str, list[Cost]]:
    """Let each have its turn, round after round; the first round warms up and does not count."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    for turn in range(rounds + 1):
        for name, subject in subjects.items():
            cost = subject.turn(random.choices(range(users), k=FEW.get(name, CALLS)), kind=kind)
            if turn:
                costs[name].append(cost)
    return costs


def cpu(what: str, costs: Sequence[Cost], to: Figure | None = None) -> Figure:
    """Return the CPU time of a request as a figure."""
    return figure(what, "ms CPU", [cost.cpu_ms for cost in costs], to)


def compared(case: str, costs: Mapping[str, Sequence[Cost]]) -> list[Figure]:
    """Compare ours with each floor, and each sample with ours."""
    ours = cpu(f"{case}: ours", costs["ours"])
    figures = []
    for name in FLOORS:
        if name in costs:
            floor = cpu(f"{case}: {name}", costs[name])
            figures += [floor, cpu(f"{case}: ours", costs["ours"], floor)]
    return figures + [
        cpu(f"{case}: {name}", costs[name], ours) for name in SAMPLES if name in costs
    ]


def measure_one_user(up: Upstream, people: People) -> list[Figure]:
    """One user who is warm: cancelled, not found, replayed, refused."""
    figures: list[Figure] = []
    with runners(("ours", *FLOORS, *SAMPLES), up, people.tokens(1)) as subjects:
        warm = taking_turns(subjects, 1)
        figures += compared("warm", warm)
        figures += [
            figure(f"warm: {name}", "ms wall", [cost.wall_ms for cost in warm[name]])
            for name in warm
        ]
        without_samples = {
            name: subject for name, subject in subjects.items() if name not in SAMPLES
        }
        figures += compared("warm, 404", taking_turns(without_samples, 1, kind="missing"))
        floor = next(one for one in figures if one.what == "warm: floor: requests")
        for case, kind in (("duplicate, replayed", "again"), ("invalid token, refused", "refused")):
            figures.append(
                cpu(
                    f"{case}: ours",
                    taking_turns({"ours": subjects["ours"]}, 1, kind=kind)["ours"],
                    floor,
                )
            )
    return figures


def measure_cold_users(up: Upstream, people: People) -> list[Figure]:
    """Users who were not seen before: their tokens are validated and exchanged."""
    rounds, calls = 8, 20
    with runners(("ours", *SAMPLES), up, people.tokens(rounds * calls + 1)) as subjects:
        costs: dict[str, list[Cost]] = defaultdict(list)
        for subject in subjects.values():
            subject.turn([rounds * calls])
        for turn in range(rounds):
            for name, subject in subjects.items():
                costs[name].append(
                    subject.turn(range(turn * calls, turn * calls + FEW.get(name, calls)))
                )
    ours = cpu("cold user: ours", costs["ours"])
    return [ours, *(cpu(f"cold user: {name}", costs[name], ours) for name in SAMPLES)]


def measure_many_users(up: Upstream, people: People) -> list[Figure]:
    """A thousand users who are warm, and ten thousand: time and memory."""
    few, many = USERS
    figures: list[Figure] = []
    tokens = people.tokens(many)
    with (
        runners(("ours",), up, tokens[:1]) as one,
        runners(("ours", "tuned sample"), up, tokens[:few]) as thousand,
        runners(("ours",), up, tokens) as thousands,
    ):
        one["ours"].turn([0] * CALLS)
        before = thousands["ours"].memory()
        for subject in thousand.values():
            subject.turn(range(few))
        thousands["ours"].turn([0] * 100)  # threads and connections are not what users cost
        before = thousands["ours"].memory()
        thousands["ours"].turn(range(many))
        grown = thousands["ours"].memory() - before
        subjects = {
            "1": one["ours"],
            "1000": thousand["ours"],
            "tuned": thousand["tuned sample"],
            "10000": thousands["ours"],
        }
        costs: dict[str, list[Cost]] = defaultdict(list)
        for _ in range(ROUNDS):
            for name, users in (("1", 1), ("1000", few), ("tuned", few), ("10000", many)):
                costs[name].append(subjects[name].turn(random.choices(range(users), k=CALLS)))
    single = cpu("1 warm user: ours", costs["1"])
    thousand_figure = cpu(f"{few:,} warm users: ours", costs["1000"], single)
    figures += [
        single,
        thousand_figure,
        cpu(f"{few:,} warm users: tuned sample", costs["tuned"], thousand_figure),
    ]
    figures.append(cpu(f"{many:,} warm users: ours", costs["10000"], single))
    figures.append(figure(f"{many:,} users and as many records: ours", "MiB", [grown / 2**20] * 2))
    return figures


def measure() -> list[Figure]:
    """Measure all of it."""
    with upstream() as (up, people):
        return [
            *measure_one_user(up, people),
            *measure_cold_users(up, people),
            *measure_many_users(up, people),
        ]
