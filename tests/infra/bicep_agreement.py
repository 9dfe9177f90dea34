"""What no compiler knows: that the template agrees with the settings that the code reads, with the
Python of the project, azd, the answers of the contract and the runbook.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import get_args

import yaml

import shared.services  # noqa: F401 - every class of error is known then
from cancel_appointment.protocol.outcome import Outcome
from cancel_appointment.request import MAX_BODY_BYTES
from shared.errors import FacadeError, Misconfigured
from shared.serving.problems import BUG, TABLE
from shared.settings import Settings
from shared.telemetry.metrics import METRICS, Event
from tests.benchmarks.scale import Assumptions
from tests.infra.bicep import Deployment, Rule, at, declarations, sources
from tests.infra.kql import alerts

type Sources = Mapping[str, str]

MAIN = "infra/main.bicep"
ROLES = "infra/modules/roles.bicep"
GUID = "6731de76-14a6-49ae-97bc-6eba6914391e"

# What the platform or a library reads; the service does not.
_PLATFORM_SETTING = re.compile(
    r"AzureWebJobsStorage__\w+|APPLICATIONINSIGHTS_\w+|FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
    r"|GLIBC_TUNABLES|PYTHON_\w+|OTEL_\w+|PYDANTIC_DISABLE_PLUGINS"
)
# What Flex Consumption has moved into functionAppConfig, or refuses (App settings reference, "Flex
# Consumption plan deprecations").
_NOT_ON_FLEX = re.compile(
    r"FUNCTIONS_(WORKER_RUNTIME(_VERSION)?|EXTENSION_VERSION|MAX_HTTP_CONCURRENCY|WORKER_PROCESS_COUNT)"
    r"|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|WEBSITE_\w+|PYTHON_ISOLATE_WORKER_DEPENDENCIES"
)
_NEEDED = frozenset(
    [
        "TENANT_ID",
        "CLIENT_ID",
        "MANAGED_IDENTITY_CLIENT_ID",
        "CLOUD",
        "ALLOWED_CLIENT_IDS",
        "MAX_CONCURRENCY",
        "IDEMPOTENCY_STORE",
        "IDEMPOTENCY_TABLE_ENDPOINT",
        "IDEMPOTENCY_TABLE_NAME",
        "AzureWebJobsStorage__credential",
        "AzureWebJobsStorage__clientId",
        "AzureWebJobsStorage__blobServiceUri",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
    ]
)


def settings_are_those_that_are_read(deployment: Deployment) -> Iterator[str]:
    """Each app setting is read by the service or the platform; none that is needed is left out."""
    given = deployment.settings
    read = {name.upper() for name in Settings.model_fields}
    for name in given:
        if name not in read and not _PLATFORM_SETTING.fullmatch(name):
            yield f"{name} is read by nobody"
        if _NOT_ON_FLEX.fullmatch(name):
            yield f"{name} does not belong on Flex Consumption"
    yield from (f"{name} is missing" for name in sorted(_NEEDED - set(given)))


def the_service_starts_with_these_settings(deployment: Deployment) -> Iterator[str]:
    """Settings.read takes what the template sets, and not every application may call."""
    given = deployment.settings
    webhooks = given.pop("WEBHOOK_KEYS", None)
    try:
        settings = Settings.read({name: _example(value) for name, value in given.items()})
    except Misconfigured as error:
        yield str(error)
        return
    if not settings.allowed_client_ids:
        yield "every application of the tenant may call"
    if settings.idempotency_store != "table" or settings.client_secret is not None:
        yield "the records are not in the table, or there is a secret"
    if (webhooks is None) == bool(deployment.all("vaults")):
        yield "the webhook route is open without a vault, or closed with one"


def _example(value: str) -> str:
    """Return what stands behind an expression when the deployment runs."""
    if not value.startswith("["):
        return value
    if "primaryEndpoints" in value:
        return "https://stcancel.table.core.windows.net/"
    return GUID


def the_platform_runs_what_was_tested(deployment: Deployment) -> Iterator[str]:
    """The Python, the size and the load of an instance, and the service's own limits."""
    runtime = deployment.of("Web/sites", "functionAppConfig.runtime")
    asked = tomllib.loads(sources()["pyproject.toml"])["project"]["requires-python"]
    if runtime["name"] != "python" or not asked.startswith(f">={runtime['version']},"):
        yield f"the app runs {runtime}, the project asks for {asked}"
    scale = deployment.of("Web/sites", "functionAppConfig.scaleAndConcurrency")
    concurrency, model = scale["triggers"]["http"]["perInstanceConcurrency"], Assumptions()
    modelled = (model.instance_concurrency, model.instance_memory_gb * 1024)
    if (concurrency, scale["instanceMemoryMB"]) != modelled:
        yield "docs/scale.md was computed for other instances"
    if deployment.settings.get("MAX_CONCURRENCY") != str(concurrency * 2):
        yield "the service's own limit does not follow"
    limit = deployment.settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "")
    if not limit.isdigit() or not MAX_BODY_BYTES < int(limit) <= 4 * 1024 * 1024:
        yield f"the platform lets bodies of {limit} bytes through"


def the_host_and_azd_find_their_way(deployment: Deployment) -> Iterator[str]:
    """The host's telemetry is what the settings say, and azd finds the app by its tag."""
    asked = json.loads(sources()["host.json"]).get("telemetryMode") == "OpenTelemetry"
    if asked != (deployment.settings.get("TELEMETRY") == "azure_monitor"):
        yield "telemetryMode in host.json and TELEMETRY do not agree"
    services = yaml.safe_load(sources()["azure.yaml"])["services"]
    if deployment.of("Web/sites", "/tags.azd-service-name") not in services:
        yield "azd does not find the app"


def every_query_asks_for_what_there_is(deployment: Deployment) -> Iterator[str]:
    """Alerts and tiles ask for metrics, dimensions, codes and columns that there are, and so does
    the runbook for metrics; tiles that read lines take them apart in one way.
    """
    prelude = sources()["infra/queries/requests.kql"]
    workbook = json.loads(deployment.of("workbooks", "serializedData"))
    tiles = [item["content"]["query"] for item in workbook["items"] if item["type"] == 3]
    columns = set(re.findall(r"extend (\w+) =", prelude))
    for query in (*queries(deployment).values(), *tiles):
        yield from _names_what_is_not(query)
        if "traces" not in query:
            continue
        if not query.startswith(prelude):
            yield f"begins in another way than the others: {query[-40:]}"
        names = r"\b(action|code|ms|status|client|mailbox)\b(?= ==|,| in| >)"
        if set(re.findall(names, query.removeprefix(prelude))) - columns:
            yield f"not a column: {query[-60:]}"
    runbook = _METRIC_NAME.findall(sources()["docs/operations.md"])
    yield from (f"docs/operations.md: {name} is no metric" for name in {*runbook} - {*_DIMENSIONS})


_METRIC_NAME = re.compile(r"\bfacade(?:\.[a-z]+)+\b")
_DIMENSIONS = {metric.name: frozenset(metric.dimensions) for metric in METRICS}


def _names_what_is_not(query: str) -> Iterator[str]:
    named = _METRIC_NAME.findall(query)
    yield from (f"{name} is no metric" for name in named if name not in _DIMENSIONS)
    split_by = frozenset[str]().union(*(_DIMENSIONS.get(name, frozenset()) for name in named))
    dimensions = set(re.findall(r"customDimensions\.(\w+)", query))
    yield from (f"{name} is no dimension of {named}" for name in dimensions - split_by)
    outcomes = {outcome.value for outcome in Outcome}
    known = {
        "code": {row.code for row in TABLE.values()} | {BUG.code} | outcomes,
        "outcome": outcomes,
        "event": set(get_args(Event.__value__)),
        "action": {"cancel", "webhook"},
        "cause": {error.__name__ for error in _below(FacadeError)},
    }
    for dimension, listed, single in re.findall(
        r'\b(code|outcome|event|action|cause)\)? (?:in \(([^)]*)\)|[!=]= "(\w*)")', query
    ):
        values = set(re.findall(r'"(\w+)"', listed)) if listed else {single}
        yield from (f"there is no {dimension} {value}" for value in values - known[dimension])


def _below(error: type[FacadeError]) -> Iterator[type[FacadeError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def queries(deployment: Deployment) -> dict[str, str]:
    """Return what each alert asks for, by its name."""
    return {name: query for name, (query, _) in alerts(deployment).items()}


def every_alert_watches_something_real(deployment: Deployment) -> Iterator[str]:
    """Each alert reads metrics, which the host does not drop, watches this deployment, looks as
    rarely as its severity allows, and is in the runbook; none is forgotten.
    """
    yield from _reads_what_is_kept(deployment)
    component = deployment.of("components", "/id")
    here = (component, deployment.of("workspaces", "/id"))
    for name, alert in zip(queries(deployment), deployment.all("scheduledQueryRules"), strict=True):
        if not at(alert, "enabled") or at(alert, "scopes.0") not in here:
            yield f"{name} does not watch this deployment"
        every, window = (_minutes(at(alert, of)) for of in ("evaluationFrequency", "windowSize"))
        if every != {1: 5, 2: 15, 3: 60}[at(alert, "severity")]:
            yield f"{name} looks every {every} minutes, which is billed"
        if window < 2 * every:
            yield f"{name} misses what comes late"
        threshold = f"{at(alert, 'criteria.allOf.0.threshold'):,}"
        severity = at(alert, "severity")
        row = rf"^\| `{name}` \| {severity} \| [^|]*\b{threshold}\b[^|]* in {window} min \|"
        if not re.search(row, sources()["docs/operations.md"], re.MULTILINE):
            yield f"docs/operations.md does not say when {name} fires, and what to do then"
    crashed = deployment.of("metricAlerts")
    if not crashed["enabled"] or crashed["scopes"] != [component]:
        yield "nobody is told of a worker that crashes"
    if f"| {len(queries(deployment))} alert rules" not in sources()["docs/operations.md"]:
        yield "docs/operations.md counts other alerts"
    shown = deployment.of("workbooks", "serializedData")
    if deployment.of("workbooks", "sourceId") != component or component not in shown:
        yield "the workbook is not tied to the component"
    signs = (
        *('code) == "misconfigured"', 'code) == "internal_error"', 'code) == "outcome_unknown"'),
        *('outcome) == "not_found"', 'code) == "throttled"', 'code) == "overloaded"'),
        *('event) == "credential_refused"', 'event) == "exchange_identity_mismatch"'),
        *('name == "facade.store.failures"', 'name == "facade.late"', 'slow) == "True"'),
        *("status)) >= 500", 'cause) != "KeyNotYetKnown"', "OverQuota"),
    )
    together = "\n".join(queries(deployment).values())
    yield from (f"nobody is told of {sign}" for sign in signs if sign not in together)


def _reads_what_is_kept(deployment: Deployment) -> Iterator[str]:
    for name, query in queries(deployment).items():
        if not query.startswith(("customMetrics | where name ", "_LogOperation | ")):
            yield f"the alert {name} reads what the host may have dropped"
        if " value = " not in query:
            yield f"the alert {name} measures nothing"


def _minutes(duration: str) -> int:
    number, unit = re.fullmatch(r"PT(\d+)([MH])", duration).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "H" else 1)


def azd_finds_its_way(files: Sources) -> Iterator[str]:
    """azure.yaml names the Function App, the template and the azd that takes an object."""
    azure = yaml.safe_load(files["azure.yaml"])
    ((_, service),) = azure["services"].items()
    if str(PurePosixPath(service["project"]) / "host.json") not in files:
        yield f"there is no Function App in {service['project']}"
    if (service["language"], service["host"]) != ("python", "function"):
        yield "the service is no Python Function App"
    if f"{azure['infra']['path']}/{azure['infra']['module']}.bicep" not in files:
        yield "the template is not where azure.yaml says"
    if azure["requiredVersions"]["azd"] != ">= 1.23.4":
        yield "an older azd fails at APP_SETTINGS, and nothing says so"
    (version,) = re.findall(r'^VERSION = "(.+)"$', files["describe_api/version.py"], re.MULTILINE)
    if not azure["metadata"]["template"].endswith(f"@{version}"):
        yield "azure.yaml has another version than the project"


def the_parameters_file_agrees(files: Sources) -> Iterator[str]:
    """Each parameter comes from one variable of azd, with the template's default and a word."""
    given = json.loads(files["infra/main.parameters.json"])["parameters"]
    declared = declarations(files[MAIN], "param")
    yield from (f"{name} is in one of the two alone" for name in sorted(set(given) ^ set(declared)))
    for name in sorted(set(given) & set(declared)):
        match = re.fullmatch(r"\$\{([A-Z_]+)(?:=([^}]*))?\}", str(given[name]["value"]))
        default = re.search(rf"^param {name} \w+ = '?(.*?)'?$", declared[name], re.MULTILINE)
        written = default[1].replace("{}", "") if default else ""
        if match is None or (match[2] or "") != written:
            yield f"{name} is {given[name]} in one and {written!r} in the other"
        elif f"`{match[1]}`" not in files["docs/operations.md"]:
            yield f"docs/operations.md does not tell of {match[1]}"
    variables = [str(one["value"]) for one in given.values()]
    yield from (f"{one} stands twice" for one in variables if variables.count(one) > 1)


def choices_have_bounds(files: Sources) -> Iterator[str]:
    """What costs, and what Azure refuses half way through, is refused before anything is made."""
    declared = declarations(files[MAIN], "param")
    for name in ("maximumInstanceCount", "perInstanceConcurrency", "alwaysReadyInstances"):
        if "@minValue(" not in declared[name] or "@maxValue(" not in declared[name]:
            yield f"{name} has no bounds"
    if "@allowed([512, 2048, 4096])" not in declared["instanceMemoryMB"]:
        yield "memory is not one of the sizes that there are"
    if "  'swedencentral'\n" not in declared["location"]:
        yield "a region without Flex Consumption is taken"


def everything_is_described_and_nothing_secret_is_put_out(files: Sources) -> Iterator[str]:
    """Every parameter and output has a description, and no output a connection string."""
    for path, text in bicep_of(files):
        outputs = declarations(text, "output")
        for name, block in (declarations(text, "param") | outputs).items():
            if not re.search(r"@description\('[^']{4,}", block):
                yield f"{path}: {name} is not described"
        yield from (
            f"{path}: {name} is secret" for name in outputs if "ConnectionString" in outputs[name]
        )


def every_version_is_pinned(files: Sources) -> Iterator[str]:
    """Modules, extensions and API versions are exact, and no preview."""
    for path, text in bicep_of(files):
        for address in re.findall(r"^module \w+ '(br/.+?)'", text, re.MULTILINE):
            if not re.fullmatch(r"br/public:avm/res/[\w/-]+:\d+\.\d+\.\d+", address):
                yield f"{path}: not pinned: {address}"
        for kind, version in re.findall(r"^resource \w+ '(.+?)@(.+?)'", text, re.MULTILINE):
            graph = kind.startswith("Microsoft.Graph/")
            if not re.fullmatch(r"v1\.0" if graph else r"\d{4}-\d\d-\d\d", version):
                yield f"{path}: {kind} has the API version {version}"
    for name, address in json.loads(files["infra/bicepconfig.json"])["extensions"].items():
        if not re.fullmatch(r"br:mcr\.microsoft\.com/[\w/.]+:\d+\.\d+\.\d+", address):
            yield f"the extension {name} is not pinned: {address}"


def deployments_do_not_meet(files: Sources) -> Iterator[str]:
    """Each has a name of its own and its turn, and none reports its use to Microsoft."""
    names = []
    for path, text in bicep_of(files):
        for address, body in re.findall(
            r"^module \w+ '(.+?)'(.*?)^\}", text, re.DOTALL | re.MULTILINE
        ):
            names += re.findall(r"^ +name: (\S+)$", body, re.MULTILINE)[:1]
            if address.startswith("br/") and " enableTelemetry: false\n" not in body:
                yield f"{path}: {address} reports its use"
    yield from (f"two deployments are named {name}" for name in names if names.count(name) > 1)
    if "  dependsOn: [roles]\n" not in files[MAIN]:
        yield "the app does not wait for its roles"
    # Azure works the names out even of what is not made.
    if "name: empty(keyVaultName) ? 'no-vault' : keyVaultName" not in files[ROLES]:
        yield "the vault has no name where there is none"


def bicep_of(files: Sources) -> list[tuple[str, str]]:
    return [(path, text) for path, text in files.items() if path.endswith(".bicep")]


OF_A_DEPLOYMENT: tuple[Rule[Deployment], ...] = (
    settings_are_those_that_are_read,
    the_service_starts_with_these_settings,
    the_platform_runs_what_was_tested,
    the_host_and_azd_find_their_way,
    every_query_asks_for_what_there_is,
    every_alert_watches_something_real,
)
OF_THE_FILES: tuple[Rule[Sources], ...] = (
    azd_finds_its_way,
    the_parameters_file_agrees,
    choices_have_bounds,
    everything_is_described_and_nothing_secret_is_put_out,
    every_version_is_pinned,
    deployments_do_not_meet,
)
