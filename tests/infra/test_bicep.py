"""The deployment template keeps its rules, and the rules catch mistakes.

Nothing is compiled: there is no Bicep compiler here.
"""

import logging
import re
from pathlib import Path

import pytest

from cancel_appointment.outcome import Outcome
from shared.telemetry.journal import Journal
from tests.infra import bicep_agreement, bicep_posture, bicep_wholeness
from tests.infra.bicep import Template
from tests.infra.bicep_mistakes import MISTAKES, Mistake
from tests.infra.bicep_rules import RULES

RULE_MODULES = (bicep_wholeness, bicep_posture, bicep_agreement)  # importing them fills the list
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.read(REPOSITORY)


@pytest.mark.parametrize("rule", RULES)
def test_the_template_keeps_the_rule(rule: str, template: Template) -> None:
    assert list(RULES[rule](template)) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "-"))
def test_a_mistake_is_caught(mistake: Mistake, template: Template) -> None:
    rule = RULES[mistake.caught_by]
    assert list(rule(template)) == []

    changed = template.changed(mistake.path, mistake.old, mistake.new)

    assert (
        list(rule(changed)) != []
    )  # and is still read: only the rule on syntax takes a file that is none


def test_every_rule_is_on_the_list() -> None:
    assert {rule.__module__ for rule in RULES.values()} == {
        module.__name__ for module in RULE_MODULES
    }


def test_every_rule_catches_a_mistake() -> None:
    assert set(RULES) == {mistake.caught_by for mistake in MISTAKES}


def test_every_bicep_file_is_read(template: Template) -> None:
    on_disk = {
        path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "infra").rglob("*.bicep")
    }

    assert {str(file.path) for file in template.files()} == on_disk
    assert len(on_disk) > 5


def test_the_query_reads_the_line_that_is_written(
    template: Template, caplog: pytest.LogCaptureFixture
) -> None:
    """The patterns of the query, on a line that the service writes; KQL takes them in the same way
    (RE2).
    """
    journal = Journal("0f8fad5b-d9cb-469f-a165-70867728950e", lambda: 100.0, "code=spoofed")
    journal.note(
        action="cancel",
        client="1b730954-1685-4b74-9bfd-dac224a7b894",
        mailbox="5f2a9c0d11aa",
        confirmed=True,
        replayed=False,
    )
    journal.note(reason="Entra refused: status=500 code=700213 ms=1")
    journal.graph_call("cancel", "answered", status=204, graph_request_id="7b2e", seconds=0.031)
    with caplog.at_level(logging.INFO, "facade.request"):
        journal.write(200, Outcome.CANCELLED.value)
    line = caplog.messages[0]

    patterns = re.findall(
        r'extend (\w+) = \w*\(?extract\(@"([^"]+)", 1, message\)',
        template.text("infra/queries/requests.kql"),
    )
    read = {name: match[1] for name, pattern in patterns if (match := re.search(pattern, line))}

    assert read == {
        "status": "200",
        "code": "cancelled",
        "action": "cancel",
        "ms": "0.0",
        "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "client": "1b730954-1685-4b74-9bfd-dac224a7b894",
        "mailbox": "5f2a9c0d11aa",
        "confirmed": "true",
        "replayed": "false",
        "graph": "cancel:204:answered:7b2e:31ms",
    }
    assert "event=request" in line
