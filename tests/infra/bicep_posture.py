"""What a security review would ask of every resource that a deployment makes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from shared.entra.credentials import _EXCHANGE_AUDIENCES as TOKEN_EXCHANGE_AUDIENCES
from shared.settings import Cloud, Settings
from tests.infra.bicep import SECRET_NAME, Deployment, Rule, at, sources

# Which built-in role may be given on what (Azure built-in roles reference).
_ROLES: Mapping[str, tuple[str, str]] = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": ("Storage Blob Data Owner", "storageAccounts"),
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": ("Storage Table Data Contributor", "storageAccounts"),
    "3913510d-42f4-4e42-8a64-420c390055eb": ("Monitoring Metrics Publisher", "components"),
    "4633458b-17de-408a-b874-0445c86b69e6": ("Key Vault Secrets User", "vaults"),
}
_GRAPH_ROLES = (
    "0c4b2d20-7919-468d-8668-c54b09d4dee8",  # Bookings.ReadWrite.All: documented for a cancel
    "9769393e-5a9f-4302-9e3d-7e018ecb64a7",  # BookingsAppointment.ReadWrite.All: for a look
)
_GRAPH = "00000003-0000-0000-c000-000000000000"
_CANCEL_AS_USER = "02a5a114-36a6-46ff-a102-954d89d9ab02"
_EXPECTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
_SECRET = re.compile(
    r"\blist[A-Z]\w*\(|AccountKey=|SharedAccess|[pP]rimaryKey|InstrumentationKey|passwordCredentials"
    r"|keyCredentials|whsec_"
)


def differences(resource: Any, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Say what is not as it should be, by its place."""
    for path, value in wanted.items():
        found = at(resource, path)
        if found != value:
            yield f"{path} is {found!r}, not {value!r}"


def no_secret_is_made(deployment: Deployment) -> Iterator[str]:
    """No key is listed, none is an output, none stands in a resource."""
    yield from (found.group() for found in _SECRET.finditer(json.dumps(deployment.resources)))
    for name, value in deployment.outputs.items():
        if SECRET_NAME.search(name) or SECRET_NAME.search(str(value)):
            yield f"the output {name} may be secret"
    for name, value in deployment.settings.items():
        refers = value.removeprefix("[format('").startswith("@Microsoft.KeyVault(")
        ours = name.startswith("APPLICATIONINSIGHTS_")  # no secret, as keys are off
        if SECRET_NAME.search(name) and not refers and not ours:
            yield f"{name} holds a secret"


def every_resource_is_as_expected(deployment: Deployment) -> Iterator[str]:
    """What a review wants of each type of resource is a table: bicep_posture.yaml."""
    for kind, wanted in _EXPECTED.items():
        for resource in deployment.all(kind):
            yield from (f"{kind}: {what}" for what in differences(resource, wanted))


def what_is_needed_is_made(deployment: Deployment) -> Iterator[str]:
    """The records have a table, a vault an audit log, publishing no way with a password."""
    for resource in deployment.resources:
        if "condition" in resource:
            yield f"made only where {resource['condition']}: {resource['type']}"
    table = deployment.of("tables", "/name").rpartition("/")[2]
    if table != deployment.settings.get("IDEMPOTENCY_TABLE_NAME"):
        yield "the table of the records is not made"
    logs = [at(one, "logs.0") for one in deployment.all("diagnosticSettings")]
    if deployment.all("vaults") and {"categoryGroup": "audit"}.items() - logs[0].items():
        yield "nobody knows who read the vault"
    if len(deployment.all("basicPublishingCredentialsPolicies")) != 2:
        yield "publishing with a password is on"


def a_network_closes_the_rest(deployment: Deployment) -> Iterator[str]:
    """In a network everything that holds data answers there alone, and has an endpoint there."""
    if not deployment.all("virtualNetworks"):
        return
    closed = {"publicNetworkAccess": "Disabled", "networkAcls.defaultAction": "Deny"}
    for holder in (*deployment.all("storageAccounts"), *deployment.all("vaults")):
        yield from differences(holder, closed)
    reached = [
        group
        for endpoint in deployment.all("privateEndpoints")
        for group in at(endpoint, "privateLinkServiceConnections.0.properties.groupIds")
    ]
    wanted = ["blob", "table", "vault"][: 3 if deployment.all("vaults") else 2]
    zones = [
        zone["name"] for zone in deployment.all("privateDnsZones") if "privatelink" in zone["name"]
    ]
    if sorted(reached) != wanted or len(zones) != len(wanted):
        yield f"inside are {reached}, by the names {zones}"
    (subnet,) = [one for one in deployment.all("subnets") if one["name"].endswith("/app")]
    environments = {"delegations.0.properties.serviceName": "Microsoft.App/environments"}
    yield from differences(subnet, environments)
    if not at(subnet, "natGateway.id"):
        yield "the app has no way out"
    if deployment.of("Web/sites", "virtualNetworkSubnetId") != subnet["id"]:
        yield "the app is not inside"


def telemetry_is_kept_sparingly(deployment: Deployment) -> Iterator[str]:
    """One retention, a bound on a day, and the app sends as its identity, through the host."""
    kept = deployment.of("workspaces", "retentionInDays")
    if deployment.of("components", "RetentionInDays") != kept:
        yield "there are two retentions"
    if not 0 < deployment.of("workspaces", "workspaceCapping.dailyQuotaGb") <= 10:
        yield "nothing bounds the bill of the logs"
    sends_as = deployment.settings.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    if not re.fullmatch(
        r"\[format\('ClientId=\{0\};Authorization=AAD', .*\.clientId\)\]", sends_as
    ):
        yield f"the app does not send as its identity: {sends_as}"
    for name in ("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "PYTHON_ENABLE_OPENTELEMETRY"):
        if name in deployment.settings:
            yield f"{name} keeps the lines from the host"
    host = json.loads(sources()["host.json"])["logging"]["applicationInsights"]
    if host["samplingSettings"]["isEnabled"] is not False:
        yield "host.json lets the host drop lines"
    kept = [deployment.settings.get(f"OTEL_TRACES_SAMPLER{end}") for end in ("", "_ARG")]
    if kept != ["microsoft.fixed_percentage", "1"]:
        yield f"the host's exporter keeps {kept}"


def browsers_call_from_named_origins(deployment: Deployment) -> Iterator[str]:
    """No wildcard, and nothing in siteConfig that nobody looked at."""
    site = deployment.of("Web/sites", "siteConfig")
    known = {"minTlsVersion", "scmMinTlsVersion", "ftpsState", "http20Enabled", "cors"}
    yield from (f"siteConfig holds {name}" for name in sorted(set(site) - known))
    for origin in site["cors"]["allowedOrigins"]:
        if "*" in origin or not origin.startswith("https://"):
            yield f"browsers may call from {origin}"


def the_app_is_one_identity(deployment: Deployment) -> Iterator[str]:
    """The app runs as the managed identity alone, and fetches its package and its secrets as it."""
    identity = deployment.of("userAssignedIdentities", "/id")
    package = "functionAppConfig.deployment.storage"
    wanted = {
        "/identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "keyVaultReferenceIdentity": identity,
        f"{package}.authentication.type": "UserAssignedIdentity",
        f"{package}.authentication.userAssignedIdentityResourceId": identity,
    }
    yield from differences(deployment.all("Web/sites")[0], wanted)
    container = deployment.of("containers", "/name").rpartition("/")[2]
    if f"'{container}'" not in deployment.of("Web/sites", f"{package}.value"):
        yield "the package is fetched from elsewhere"
    for name in ("MANAGED_IDENTITY_CLIENT_ID", "AzureWebJobsStorage__clientId"):
        if not is_of_the_identity(deployment, "clientId", deployment.settings.get(name)):
            yield f"{name} is not the identity's client id"
    if deployment.settings["CLIENT_ID"] != "[reference('identified').appId]":
        yield "CLIENT_ID is not the registration"


def is_of_the_identity(deployment: Deployment, what: str, found: object) -> bool:
    """Tell whether an expression is this property of the managed identity: ids look all alike."""
    identity = re.escape(deployment.of("userAssignedIdentities", "/id"))
    return bool(re.fullmatch(rf"\[reference\('{identity}', '[\d-]+'\)\.{what}\]", str(found)))


def roles_are_few_and_on_single_resources(deployment: Deployment) -> Iterator[str]:
    """Each role is on the list, on the kind of resource that it is for, for the identity alone."""
    wanted = set(_ROLES) if deployment.all("vaults") else set(list(_ROLES)[:3])
    for assignment in deployment.all("roleAssignments"):
        role = at(assignment, "roleDefinitionId").rpartition("/")[2]
        scope = re.match(r"\[extensionResourceId\('([^']+)'", assignment.get("id", ""))
        wanted.discard(role)
        if role not in _ROLES:
            yield f"a role that is not on the list: {role}"
        elif scope is None or scope[1].split("/")[-2] != _ROLES[role][1]:
            yield f"{_ROLES[role][0]} is given on {scope and scope[1]}"
        if not is_of_the_identity(deployment, "principalId", at(assignment, "principalId")):
            yield f"{role} is given to somebody else"
    yield from (f"{_ROLES[role][0]} is not given" for role in sorted(wanted))


def the_registration_asks_for_little(deployment: Deployment) -> Iterator[str]:
    """v2.0 tokens, our scope, one permission of Graph; those of webhooks where they are on."""
    connector = "-connector"
    apis = [app for app in deployment.all("applications") if connector not in at(app, "uniqueName")]
    webhooks = "WEBHOOK_KEYS" in deployment.settings
    asked = [(_CANCEL_AS_USER, "Scope"), *((role, "Role") for role in _GRAPH_ROLES if webhooks)]
    wanted = {
        "api.requestedAccessTokenVersion": 2,
        "api.acceptMappedClaims": None,
        "api.oauth2PermissionScopes.0.value": Settings.model_fields["required_scope"].default,
        "requiredResourceAccess.0.resourceAppId": _GRAPH,
        "requiredResourceAccess.0.resourceAccess": [
            {"id": id_, "type": kind} for id_, kind in asked
        ],
        "requiredResourceAccess.1": None,
    }
    for api in apis:
        yield from differences(api, wanted)
    named = [at(api, "identifierUris") for api in apis if at(api, "identifierUris")]
    if len(apis) != 2 or named != [["[format('api://{0}', reference('registration').appId)]"]]:
        yield f"the Application ID URI is {named}"


def the_registration_trusts_the_managed_identity_alone(deployment: Deployment) -> Iterator[str]:
    """The one credential is the managed identity of this deployment, as its tokens say it."""
    cloud = Cloud(deployment.settings["CLOUD"])
    tenant = deployment.settings["TENANT_ID"]
    authority = Settings(TENANT_ID=tenant, CLIENT_ID=tenant, CLIENT_SECRET="x", CLOUD=cloud)
    wanted = {
        "issuer": f"{authority.entra_authority_host}/{tenant}/v2.0",
        "audiences": [TOKEN_EXCHANGE_AUDIENCES[cloud]],
    }
    (trust,) = deployment.all("federatedIdentityCredentials")
    yield from differences(trust, wanted)
    if not is_of_the_identity(deployment, "principalId", at(trust, "subject")):
        yield "the credential is not the managed identity"


POSTURE: tuple[Rule[Deployment], ...] = (
    no_secret_is_made,
    every_resource_is_as_expected,
    what_is_needed_is_made,
    a_network_closes_the_rest,
    telemetry_is_kept_sparingly,
    browsers_call_from_named_origins,
    the_app_is_one_identity,
    roles_are_few_and_on_single_resources,
    the_registration_asks_for_little,
    the_registration_trusts_the_managed_identity_alone,
)
