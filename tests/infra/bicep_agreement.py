"""Rules on what the template has to agree with: the settings that the code reads, the Python of the
project, azd, the log lines, the runbook.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import cast, get_args

import shared.services  # noqa: F401 - every class of error is known then
from cancel_appointment.outcome import Outcome
from cancel_appointment.request import MAX_BODY_BYTES
from shared.errors import FacadeError, Misconfigured
from shared.serving.problems import BUG, TABLE
from shared.settings import Settings
from shared.telemetry.metrics import METRICS, Event
from tests.benchmarks.scale import Assumptions
from tests.infra.bicep import Json, Template, at, body_of, dotted
from tests.infra.bicep_rules import (
    APP,
    MAIN,
    MONITORING,
    SECRET_NAME,
    app_settings,
    decorator_of,
    rule,
)
from tests.infra.kql import alerts

GUID = "6731de76-14a6-49ae-97bc-6eba6914391e"


# What the platform or a library reads; the service does not.
_PLATFORM_SETTING = re.compile(
    r"AzureWebJobsStorage__\w+|APPLICATIONINSIGHTS_\w+|FUNCTIONS_REQUEST_BODY_SIZE_LIMIT|GLIBC_TUNABLES|PYTHON_\w+|OTEL_\w+|PYDANTIC_DISABLE_PLUGINS"
)


# What Flex Consumption has moved into functionAppConfig, or refuses (App settings reference, "Flex
# Consumption plan deprecations").
_NOT_ON_FLEX = re.compile(
    r"FUNCTIONS_(WORKER_RUNTIME(_VERSION)?|EXTENSION_VERSION|MAX_HTTP_CONCURRENCY|WORKER_PROCESS_COUNT)|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD"
    r"|WEBSITE_\w+|PYTHON_ISOLATE_WORKER_DEPENDENCIES"
)


# Read by the webhook route, which an operator turns on; every other setting is the service's own
# from the start.
_OPTIONAL_ROUTES = frozenset({"WEBHOOK_KEYS"})


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


@rule
def settings_are_those_that_are_read(template: Template) -> Iterator[str]:
    """Every app setting is read by the service or the platform, none that is needed is missing, and
    none holds a secret.
    """
    given = app_settings(template)
    read = {name.upper() for name in Settings.model_fields} | _OPTIONAL_ROUTES
    yield from (
        f"{name} is read by nobody"
        for name in sorted(given)
        if name not in read and not _PLATFORM_SETTING.fullmatch(name)
    )
    yield from (
        f"{name} does not belong on Flex Consumption"
        for name in sorted(given)
        if _NOT_ON_FLEX.fullmatch(name)
    )
    yield from (f"{name} is missing" for name in sorted(_NEEDED - set(given)))
    for name, value in given.items():
        if name.startswith("APPLICATIONINSIGHTS_"):
            continue
        if (
            SECRET_NAME.search(name)
            and name != "AzureWebJobsStorage__credential"
            and not str(value).startswith("@Microsoft.KeyVault(SecretUri=")
        ):
            yield f"{name} holds a secret"
    resources = template.file(APP).section("resources")
    if at(resources["settings"], "config", "name") != "appsettings" or "union" not in json.dumps(
        at(resources["settings"], "config", "properties")
    ):
        yield "the app settings are not the three lists together"
    site = at(resources["app"], "config", "properties", "siteConfig")
    known = {"minTlsVersion", "scmMinTlsVersion", "ftpsState", "http20Enabled", "cors"}
    yield from (
        f"siteConfig holds {name}, which nothing here looks at"
        for name in sorted(set(cast("Mapping[str, Json]", site)) - known)
    )


@rule
def the_service_starts_with_these_settings(template: Template) -> Iterator[str]:
    """Settings.read takes what the template sets, with a partner client and without one."""
    given = app_settings(template)
    for branch in ("true_value", "false_value"):
        environment = {
            name: _example(value, branch)
            for name, value in given.items()
            if name not in _OPTIONAL_ROUTES
        }
        try:
            settings = Settings.read(environment)
        except Misconfigured as error:
            yield str(error)
            continue
        if not settings.allowed_client_ids:
            yield "every application of the tenant may call"
        if settings.idempotency_store != "table" or settings.client_secret is not None:
            yield "the records are not in the table, or there is a secret"


@rule
def python_is_the_same_everywhere(template: Template) -> Iterator[str]:
    """The app runs on Flex Consumption with the Python that the project is written for."""
    resources = template.file(APP).section("resources")
    runtime = at(resources["app"], "config", "properties", "functionAppConfig", "runtime")
    asked = tomllib.loads(template.text("pyproject.toml"))["project"]["requires-python"]
    if at(runtime, "name") != "python" or not str(asked).startswith(f">={at(runtime, 'version')},"):
        yield f"the app runs {runtime}, the project asks for {asked}"
    if (
        at(resources["plan"], "config", "sku") != {"name": "FC1", "tier": "FlexConsumption"}
        or at(resources["plan"], "config", "properties", "reserved") is not True
    ):
        yield "the plan is not Flex Consumption on Linux"
    if at(resources["app"], "config", "kind") != "functionapp,linux":
        yield "the app is not a Function App on Linux"


@rule
def scale_is_a_parameter_with_bounds(template: Template) -> Iterator[str]:
    """How the app scales is chosen by parameters that have bounds, and the service's own limit
    follows from them.
    """
    scale = at(
        template.file(APP).section("resources")["app"],
        "config",
        "properties",
        "functionAppConfig",
        "scaleAndConcurrency",
    )
    if at(scale, "triggers", "http", "perInstanceConcurrency") != "perInstanceConcurrency":
        yield "the concurrency of an instance is not the parameter"
    yield from (
        f"{name} is not the parameter"
        for name in ("maximumInstanceCount", "instanceMemoryMB")
        if at(scale, name) != name
    )
    if "alwaysReadyInstances" not in json.dumps(at(scale, "alwaysReady")):
        yield "no instance is kept ready"
    parameters = template.file(MAIN).section("parameters")
    for name in ("maximumInstanceCount", "perInstanceConcurrency", "alwaysReadyInstances"):
        low, high, chosen = (
            decorator_of(parameters[name], "min_value"),
            decorator_of(parameters[name], "max_value"),
            parameters[name]["default"],
        )
        if not (
            isinstance(low, int)
            and isinstance(high, int)
            and isinstance(chosen, int)
            and low <= chosen <= high
        ):
            yield f"{name} has no bounds"
    if decorator_of(parameters["instanceMemoryMB"], "allowed") != [512, 2048, 4096]:
        yield "memory is not one of the sizes that there are"
    model = Assumptions()
    if (
        parameters["perInstanceConcurrency"]["default"],
        parameters["instanceMemoryMB"]["default"],
    ) != (
        model.instance_concurrency,
        model.instance_memory_gb * 1024,
    ):
        yield "docs/scale.md was computed for other instances"
    if "perInstanceConcurrency" not in json.dumps(app_settings(template).get("MAX_CONCURRENCY")):
        yield "the service's own limit does not follow"
    limit = str(app_settings(template).get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"))
    if not limit.isdigit() or not MAX_BODY_BYTES < int(limit) <= 4 * 1024 * 1024:
        yield f"the platform lets bodies of {limit} bytes through"


@rule
def azd_finds_its_way(template: Template) -> Iterator[str]:
    """azure.yaml names a folder with a Function App, its service is the tag of the app, and its
    template is there.
    """
    text = template.text("azure.yaml")
    services = re.findall(r"^  (\w+):[^\n]*\n    project: (\S+)", text, re.MULTILINE)
    if len(services) != 1:
        yield f"azure.yaml has {len(services)} services"
        return
    ((service, project),) = services
    if str(PurePosixPath(project) / "host.json") not in {str(path) for path in template.texts}:
        yield f"there is no Function App in {project}"
    if "    language: python\n    host: function\n" not in text:
        yield "the service is no Python Function App"
    path, module = (
        re.search(rf"^  {name}: (\S+)$", text, re.MULTILINE) for name in ("path", "module")
    )
    if path is None or module is None or not template.text(f"{path[1]}/{module[1]}.bicep"):
        yield "the template is not where azure.yaml says"
    tags = json.dumps(at(template.file(APP).section("resources")["app"], "config", "tags"))
    if f'"\'azd-service-name\'": "{service}"' not in tags:
        yield f"the app is not tagged as the service {service}"
    if at(template.file(MAIN).section("variables")["tags"], "value") != {
        "'azd-env-name'": "environmentName"
    }:
        yield "the resources are not tagged with the environment"


@rule
def the_parameters_file_agrees(template: Template) -> Iterator[str]:
    """Each parameter comes from one variable of the azd environment, with the default that the
    template has.
    """
    given = at(cast("Json", json.loads(template.text("infra/main.parameters.json"))), "parameters")
    declared = template.file(MAIN).section("parameters")
    names = set(given) if isinstance(given, Mapping) else set()
    yield from (f"{name} is in one of the two alone" for name in sorted(names ^ set(declared)))
    variables = set()
    for name in sorted(names & set(declared)):
        match = re.fullmatch(r"\$\{([A-Z_]+)(?:=([^}]*))?\}", str(at(given, name, "value")))
        if match is None:
            yield f"{name} is fixed: {at(given, name, 'value')}"
            continue
        if match[1] in variables:
            yield f"{match[1]} stands for two parameters"
        variables.add(match[1])
        default = declared[name]["default"]
        written = None if default in (None, "") else json.dumps(default).strip('"')
        if written != match[2]:
            yield f"{name} is {match[2]!r} in one and {written!r} in the other"


@rule
def every_alert_watches_something_real(template: Template) -> Iterator[str]:
    """Alerts read metrics alone; they, the tiles and the runbook name metrics, dimensions and values
    that the code has; the runbook says what to do at each alert.
    """
    asked = alerts(template)
    workbook = cast("Json", json.loads(template.text("infra/workbook.json")))
    tiles = [
        str(at(item, "content", "query"))
        for item in cast("list[Json]", at(workbook, "items"))
        if at(item, "type") == 3
    ]
    for name, (query, _) in asked.items():
        if not query.startswith("customMetrics | where name ") or "itemCount" in query:
            yield f"the alert {name} reads what the host may have dropped"
        if " value = " not in query:
            yield f"the alert {name} measures nothing"
        if f"`{name}`" not in template.text("docs/operations.md"):
            yield f"docs/operations.md does not say what to do at {name}"
    for query in (*(query for query, _ in asked.values()), *tiles):
        yield from _names_what_is_not(query)
    runbook = template.text("docs/operations.md")
    yield from (
        f"docs/operations.md names {name}, which is no metric"
        for name in _METRIC_NAME.findall(runbook)
        if name not in _DIMENSIONS
    )
    yield from _watches("\n".join(query for query, _ in asked.values()))
    yield from _reads_lines_as_they_are(tiles, template)
    for file in ("infra/workbook.json", MONITORING):
        if "<component resource id>" not in template.text(file):
            yield f"the workbook is not tied to the component: {file}"
    made = body_of(template.file(MONITORING).section("resources")["alerts"])
    if (
        at(made, "properties", "enabled") is not True
        or dotted(at(made, "properties", "scopes", 0)) != "component.outputs.resourceId"
    ):
        yield "the alerts do not watch this component"


_METRIC_NAME = re.compile(r"\bfacade(?:\.[a-z]+)+\b")
_DIMENSIONS = {metric.name: frozenset(metric.dimensions) for metric in METRICS}


def _names_what_is_not(query: str) -> Iterator[str]:
    named = _METRIC_NAME.findall(query)
    yield from (f"{name} is no metric" for name in named if name not in _DIMENSIONS)
    dimensions = frozenset[str]().union(*(_DIMENSIONS.get(name, frozenset()) for name in named))
    yield from (
        f"{name} is no dimension of {named}"
        for name in re.findall(r"customDimensions\.(\w+)", query)
        if name not in dimensions
    )
    codes = {row.code for row in TABLE.values()} | {BUG.code}
    outcomes = {outcome.value for outcome in Outcome}
    known = {
        "code": codes | outcomes,  # a line calls the two alike
        "outcome": outcomes,
        "event": set(get_args(Event.__value__)),
        "action": {"cancel", "webhook"},
        "cause": {error.__name__ for error in _below(FacadeError)},
    }
    for dimension, listed, single in re.findall(
        r'\b(code|outcome|event|action|cause)\)? (?:in \(([^)]*)\)|[!=]= "(\w*)")', query
    ):
        values = re.findall(r'"(\w+)"', listed) if listed else [single]
        yield from (
            f"there is no {dimension} {value}" for value in values if value not in known[dimension]
        )


def _below(error: type[FacadeError]) -> Iterator[type[FacadeError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def _watches(together: str) -> Iterator[str]:
    """What an operator has to be told of, and is not."""
    signs = (
        *('code) == "misconfigured"', 'code) == "internal_error"', 'code) == "outcome_unknown"'),
        *('outcome) == "not_found"', 'code) == "throttled"', 'code) == "overloaded"'),
        *('event) == "credential_refused"', 'event) == "exchange_identity_mismatch"'),
        *('name == "facade.store.failures"', 'name == "facade.late"', 'slow) == "True"'),
        *("status)) >= 500", 'cause) != "KeyNotYetKnown"'),
    )
    yield from (f"nobody is told of {sign}" for sign in signs if sign not in together)


def _reads_lines_as_they_are(tiles: list[str], template: Template) -> Iterator[str]:
    """Tiles that read lines begin with the one query that takes a line apart, and ask for its
    columns.
    """
    prelude = template.text("infra/queries/requests.kql")
    columns = set(re.findall(r"extend (\w+) =", prelude))
    for tile in tiles:
        if "traces" not in tile:
            continue
        if not tile.startswith(prelude):
            yield f"the tile {tile[-40:]!r} takes lines apart in a way of its own"
        yield from (
            f"{name} is not a column: {tile[-60:]}"
            for name in re.findall(
                r"\b(action|code|ms|status|client|mailbox)\b(?= ==|,| in| >)",
                tile.removeprefix(prelude),
            )
            if name not in columns
        )


@rule
def what_matters_less_is_looked_at_less_often(template: Template) -> Iterator[str]:
    """A rule is billed by how often it looks, and looks back further than to its last look."""
    pace = at(template.file(MONITORING).section("variables")["pace"], "value")
    minutes = [
        tuple(_minutes(str(at(pace, f"'{severity}'", name))) for name in ("every", "window"))
        for severity in (1, 2, 3)
    ]
    if not minutes[0][0] < minutes[1][0] < minutes[2][0]:
        yield f"severities are looked at every {minutes}"
    yield from (
        f"what comes late is missed: {window} after {every}"
        for every, window in minutes
        if window < 2 * every
    )


def _minutes(duration: str) -> int:
    number, unit = re.fullmatch(r"PT(\d+)([MH])", duration).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "H" else 1)


# What stands behind a name when the deployment runs.
_EXAMPLES: Mapping[str, str] = {
    "apiClientId": GUID,
    "identityClientId": GUID,
    "allowedClientIds": GUID,
    "cloud": "usgov",
    "tableName": "idempotency",
    "tenant().tenantId": GUID,
    "storage.properties.primaryEndpoints.table": "https://stcancel.table.core.windows.net/",
    "storage.properties.primaryEndpoints.blob": "https://stcancel.blob.core.windows.net/",
    "component.properties.ConnectionString": "IngestionEndpoint=https://example.invalid/",
}


def _example(value: Json, branch: str) -> str:
    """Return what a setting might hold; ``branch`` is the side taken at a condition."""
    if isinstance(value, str):
        return _EXAMPLES.get(
            value, re.sub(r"\$\{([^}]+)\}", lambda match: _EXAMPLES.get(match[1], "x"), value)
        )
    if at(value, "operator", "type") == "conditional":
        return _example(at(value, "operator", "operands", branch), branch)
    if at(value, "function", "type") == "join":
        return _example(at(value, "function", "parameters", "input_array"), branch)
    if at(value, "function", "type") == "string":
        return "32"
    return _EXAMPLES[dotted(value)]
