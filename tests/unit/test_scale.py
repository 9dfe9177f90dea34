"""The scale model: its two ways to the same numbers agree, and each assumption counts."""

from pathlib import Path

import pytest

from tests.benchmarks import scale
from tests.benchmarks.scale import Assumptions, plan, simulate

GIVEN = Assumptions()


@pytest.mark.parametrize(("per_hour", "mailboxes"), [(3_600, 20), (36_000, 500), (360_000, 5_000)])
def test_the_simulation_reproduces_the_plan(per_hour: float, mailboxes: int) -> None:
    seconds = 600.0 if per_hour < 10_000 else 60.0
    given = GIVEN.model_copy(update={"billed_at_least_s": 0.0})
    planned = plan(per_hour, mailboxes, given)
    played = simulate(per_hour, mailboxes, given, seconds=seconds)
    count = sum(played.endings.values())
    assert count == pytest.approx(per_hour / 3600 * seconds, rel=0.15)
    assert sum(played.latencies) / len(played.latencies) == pytest.approx(given.latency_s, rel=0.1)
    assert played.cpu_s / seconds == pytest.approx(per_hour / 3600 * given.busy_s, rel=0.15)
    active = scale._busy_fraction(per_hour / 3600 / planned.instances * given.latency_s)
    assert played.active_s / seconds / planned.instances == pytest.approx(active, abs=0.1)


def test_one_mailbox_is_first_limited_by_the_mail_that_it_may_send() -> None:
    assert plan(900, 1, GIVEN).first == "mail of a mailbox"
    assert plan(900, 1, GIVEN).loads["mail of a mailbox"] == pytest.approx(1.0)
    without = GIVEN.model_copy(update={"mails_per_cancel": 0.0})
    assert plan(900, 1, without).first == "concurrency of a mailbox"


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"entra_requests": 10.0}, "token requests to Entra"),
        ({"app_requests": 100.0}, "requests of the app to Graph"),
        ({"table_requests": 100.0}, "operations on the table"),
        ({"most_instances": 2}, "instances"),
        ({"mailbox_requests": 0.001}, "requests to a mailbox"),
        ({"graph_s": 60.0, "mails_per_cancel": 0.0}, "instances"),
    ],
    ids=lambda value: str(value),
)
def test_each_limit_can_be_the_first(change: dict[str, float], first: str) -> None:
    assert plan(1_000_000, 10_000, GIVEN.model_copy(update=change)).first == first


def test_what_a_busy_mailbox_refuses_is_waited_out_and_beyond_the_deadline_told() -> None:
    crowded = simulate(
        90_000, 1, GIVEN.model_copy(update={"graph_spread": 0.0}), seconds=30, instances=4
    )
    assert crowded.refused > 0
    assert crowded.endings["throttled"] > 0
    assert max(crowded.latencies) < GIVEN.deadline_s + 2 * GIVEN.graph_s
    calm = simulate(3_600, 100, GIVEN, seconds=60)
    assert (calm.refused, set(calm.endings)) == (0, {"cancelled"})


def test_a_million_cost_less_where_they_come_together() -> None:
    assert (
        plan(100, 1, GIVEN).cost_per_million > 10 * plan(1_000_000, 10_000, GIVEN).cost_per_million
    )


def test_an_assumption_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        scale.main(["--set", "graphs_s=1"])
    assert caught.value.code == 2
    assert "graphs_s" in capsys.readouterr().err


def test_the_table_has_a_line_for_each_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["--per-hour", "100", "--set", "graph_s=0.2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| 100 |") == 1
    assert scale.main(["--assumptions"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(Assumptions.model_fields)


def test_the_published_table_is_what_the_model_says() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text()
    assert scale.as_table(GIVEN) in page, (
        "docs/scale.md is out of date: put the output of make scale into it"
    )
