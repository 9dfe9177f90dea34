"""The deployment template keeps its rules, the rules catch mistakes, and the compiler says nothing.

What needs Microsoft's Bicep compiler is skipped where there is none on the path; `az bicep install`
brings one.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cancel_appointment.protocol.outcome import Outcome
from scripts.snapshots import FOLDER, VERSION, Refused, as_text, evaluate, find_compiler, run
from shared.settings import Settings
from shared.telemetry.journal import Journal
from tests.infra.bicep import (
    Deployment,
    Rule,
    copy_of_the_template,
    deployment_of,
    deployments,
    sources,
)
from tests.infra.bicep_agreement import GUID, MAIN, OF_A_DEPLOYMENT, OF_THE_FILES
from tests.infra.bicep_posture import POSTURE, every_resource_is_as_expected

COMPILER = find_compiler()
SNAPSHOTS = sorted(path.stem for path in FOLDER.glob("*.bicepparam"))
RULES = (*POSTURE, *OF_A_DEPLOYMENT)
EVERY_RULE: tuple[Rule[Any], ...] = (*RULES, *OF_THE_FILES)
MISTAKES = yaml.safe_load(Path(__file__).with_name("bicep_mistakes.yaml").read_text("utf-8"))
compiles = pytest.mark.skipif(
    COMPILER is None, reason="no Bicep compiler on the PATH, nor in BICEP"
)
bicep = COMPILER or ""


def name_of(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_what_is_made_keeps_the_rule(rule: Rule[Deployment], snapshot: str) -> None:
    assert list(rule(deployments()[snapshot])) == []


@pytest.mark.parametrize("rule", OF_THE_FILES, ids=name_of)
def test_the_files_keep_the_rule(rule: Rule[Any]) -> None:
    assert list(rule(sources())) == []


@compiles
@pytest.mark.parametrize("command", ["build", "lint"])
def test_the_compiler_finds_nothing(command: str, tmp_path: Path) -> None:
    main = copy_of_the_template(tmp_path) / MAIN
    assert run(bicep, command, main, *(["--stdout"] if command == "build" else [])) is not None


@compiles
def test_the_files_are_laid_out_as_the_compiler_does_it(tmp_path: Path) -> None:
    run(bicep, "format", "--pattern", f"{copy_of_the_template(tmp_path)}/infra/**/*.bicep*")
    laid_out = {path: (tmp_path / path).read_text("utf-8") for path in sources() if "bicep" in path}
    assert laid_out == {path: sources()[path] for path in laid_out}


@compiles
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_kept_snapshot_is_what_would_be_made(name: str, tmp_path: Path) -> None:
    if VERSION not in run(bicep, "--version"):
        pytest.skip(f"the snapshots are made with {VERSION}")
    made = evaluate(bicep, parameters_of(name, copy_of_the_template(tmp_path)))
    kept = (FOLDER / f"{name}.snapshot.json").read_text("utf-8")
    assert as_text(made) == kept, (
        "make snapshots writes it again: read the diff, it is a deployment"
    )


# Mistakes.


def by_rule(kind: str) -> list[Any]:
    """Return the mistakes of a kind, each with the function that has to catch it."""
    rules = {name_of(rule): rule for rule in EVERY_RULE}
    return [
        pytest.param(rules[rule], mistake, id=name)
        for rule, mistakes in MISTAKES[kind].items()
        for name, mistake in mistakes.items()
    ]


@pytest.mark.parametrize(("rule", "mistake"), by_rule("made"))
def test_a_mistake_in_what_is_made_is_caught(rule: Rule[Deployment], mistake: list[Any]) -> None:
    right = deployments()["everything"]
    assert list(rule(right)) == []
    assert list(rule(right.changed(*mistake))) != []


@pytest.mark.parametrize(("rule", "mistake"), by_rule("written"))
def test_a_mistake_in_the_files_is_caught(rule: Rule[Any], mistake: list[str]) -> None:
    assert list(rule({**sources(), mistake[0]: edited(*mistake)})) != []


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the compiler says to the mistakes that it alone catches: one run for all of them."""
    root = copy_of_the_template(tmp_path_factory.mktemp("refused"))
    for number, (path, old, new) in enumerate(MISTAKES["compiled"].values()):
        (root / path).with_name(f"wrong{number}.bicep").write_text(edited(path, old, new), "utf-8")
    with pytest.raises(Refused) as refused:
        run(bicep, "lint", "--pattern", f"{root}/**/wrong*.bicep")
    return str(refused.value)


@compiles
@pytest.mark.parametrize("name", MISTAKES["compiled"])
def test_a_mistake_is_caught_by_the_compiler(name: str, refusals: str) -> None:
    assert f"/wrong{list(MISTAKES['compiled']).index(name)}.bicep(" in refusals


@compiles
def test_what_shows_only_in_what_is_made_is_seen(tmp_path: Path) -> None:
    """A module's default that opens something, and a resource more than there was."""
    root = copy_of_the_template(tmp_path)
    for path, old, new in MISTAKES["opened"].values():
        (root / path).write_text(edited(path, old, new), "utf-8")
    made = deployment_of("default", evaluate(bicep, parameters_of("default", root)))
    assert list(every_resource_is_as_expected(made)) != []
    assert made.all("vaults")
    assert not deployments()["default"].all("vaults")


def parameters_of(name: str, root: Path) -> Path:
    return root / "infra/snapshots" / f"{name}.bicepparam"


def edited(path: str, old: str, new: str) -> str:
    text = sources()[path]
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    return text.replace(old, new)


def test_every_rule_catches_a_mistake() -> None:
    rules = {name_of(rule) for rule in EVERY_RULE}
    assert rules == {*MISTAKES["made"], *MISTAKES["written"]}


# Settings.

SECRETS = {
    name.upper()
    for name, field in Settings.model_fields.items()
    if "SecretStr" in str(field.annotation) or name == "webhook_keys"
}


def evaluate_with(parameters: dict[str, object], folder: Path) -> Deployment:
    """Evaluate the default deployment with parameters over it, as azd would hand them over."""
    file = parameters_of("default", copy_of_the_template(folder))
    more = [
        f"param {name} = json('''{json.dumps(value)}''')\n" for name, value in parameters.items()
    ]
    file.write_text(file.read_text("utf-8") + "".join(more), "utf-8")
    return deployment_of("default", evaluate(bicep, file))


@compiles
def test_every_setting_can_be_set_through_azd(tmp_path: Path) -> None:
    names = {name.upper() for name in Settings.model_fields} - SECRETS
    wanted = {name: f"chosen for {name}" for name in names} | {"MAX_CONCURRENCY": 7}
    wanted["CLIENT_SECRET"] = "@Microsoft.KeyVault(SecretUri=https://kv/secrets/x/)"
    made = evaluate_with({"appSettings": wanted, "apiClientId": GUID}, tmp_path)
    assert wanted.items() <= {**made.settings, "MAX_CONCURRENCY": 7}.items()
    assert made.settings["MAX_CONCURRENCY"] == "7"
    assert not made.all("applications"), "a registration made by hand needs no Graph"


@compiles
def test_a_secret_is_refused_among_the_settings_with_words(tmp_path: Path) -> None:
    given = dict.fromkeys(SECRETS, "x") | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=x"}
    with pytest.raises(Refused, match="appSettings must not hold secrets") as refused:
        evaluate_with({"appSettings": given}, tmp_path)
    assert [name for name in given if name not in str(refused.value)] == []


@compiles
@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        pytest.param("corsAllowedOrigins", "https://*.contoso.com", "refused", id="a wildcard"),
        pytest.param("monthlyBudget", 9, "ALERT_EMAIL and BUDGET_START", id="a budget for nobody"),
    ],
)
def test_what_azure_would_refuse_half_way_is_refused_at_once(
    parameter: str, value: object, words: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        evaluate_with({parameter: value}, tmp_path)


def test_the_query_reads_the_line_that_is_written(
    caplog: pytest.LogCaptureFixture,
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
        sources()["infra/queries/requests.kql"],
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
