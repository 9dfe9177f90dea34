"""Rules on what a security review would ask: secrets, roles, identities, encryption, who can reach
what.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from shared.entra.credentials import _EXCHANGE_AUDIENCES as TOKEN_EXCHANGE_AUDIENCES
from shared.settings import Settings
from tests.infra.bicep import Json, Template, at, body_of, dotted
from tests.infra.bicep_rules import (
    APP,
    MAIN,
    MONITORING,
    NETWORK,
    REGISTRATION,
    ROLES,
    SECRET_NAME,
    STORAGE,
    VAULT,
    app_settings,
    rule,
)

# Which built-in role may be given on what: (role, type of resource).
_ROLES: Mapping[str, tuple[str, str]] = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": (
        "Storage Blob Data Owner",
        "Microsoft.Storage/storageAccounts",
    ),
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": (
        "Storage Table Data Contributor",
        "Microsoft.Storage/storageAccounts",
    ),
    "3913510d-42f4-4e42-8a64-420c390055eb": (
        "Monitoring Metrics Publisher",
        "Microsoft.Insights/components",
    ),
    "4633458b-17de-408a-b874-0445c86b69e6": ("Key Vault Secrets User", "Microsoft.KeyVault/vaults"),
}


_SECRET_SOURCE = re.compile(
    r"\blist[A-Z]\w*\s*\(|getSecret\s*\(|AccountKey=|SharedAccess|primaryAccessKey|secondaryAccessKey|[pP]rimaryConnectionString|[sS]econdaryConnectionString"
    r"|instrumentationKey|passwordCredentials|keyCredentials|whsec_",
    re.IGNORECASE,
)


@rule
def no_secret_passes_through(template: Template) -> Iterator[str]:
    """No key is listed, no secret is a plain parameter, none is put out, none stands in the files."""
    for file in template.files():
        code = "\n".join(
            line.split("//")[0] if "'" not in line else line for line in file.source.splitlines()
        )
        yield from (f"{file.path}: {found.group()}" for found in _SECRET_SOURCE.finditer(code))
        for name, parameter in file.section("parameters").items():
            secure = any(
                at(decorator, "type") == "secure"
                for decorator in cast("list[Json]", parameter["decorators"])
            )
            if SECRET_NAME.search(name) and not secure:
                yield f"{file.path}: the parameter {name} sounds secret and is not @secure()"
            if secure and parameter.get("default") is not None:
                yield f"{file.path}: the secret parameter {name} has a default"
        for name, output in file.section("outputs").items():
            if SECRET_NAME.search(name) or SECRET_NAME.search(json.dumps(output["value"])):
                yield f"{file.path}: the output {name} may be secret"


@rule
def storage_is_closed(template: Template) -> Iterator[str]:
    """No keys, no public blobs, TLS 1.2, and nothing from outside where there is a network."""
    account = at(body_of(template.file(STORAGE).section("modules")["account"]), "params")
    wanted: dict[str, Json] = {
        "allowSharedKeyAccess": False,
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "supportsHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
        "defaultToOAuthAuthentication": True,
    }
    yield from (
        f"{name} is {at(account, name)}"
        for name, value in wanted.items()
        if at(account, name) != value
    )
    if at(account, "blobServices", "containers", 0, "publicAccess") != "None":
        yield "the container may be public"
    if at(account, "tableServices", "tables", 0, "name") != "tableName":
        yield "the table of the records is not made"
    yield from _closed_inside_a_network(account)
    yield from _follows_the_network(template, "storage")


@rule
def the_vault_is_closed(template: Template) -> Iterator[str]:
    """Roles instead of access policies, nothing lost by a deletion, nothing from outside where
    there is a network.
    """
    vault = at(body_of(template.file(VAULT).section("modules")["vault"]), "params")
    yield from (
        f"{name} is off"
        for name in ("enableRbacAuthorization", "enablePurgeProtection", "enableSoftDelete")
        if at(vault, name) is not True
    )
    opened = (
        "enableVaultForDeployment",
        "enableVaultForDiskEncryption",
        "enableVaultForTemplateDeployment",
    )
    yield from (f"{name} is on" for name in opened if at(vault, name) is not False)
    yield from _closed_inside_a_network(vault)
    yield from _follows_the_network(template, "vault")


def _closed_inside_a_network(parameters: Json) -> Iterator[str]:
    for path, open_value, closed_value in (
        (("publicNetworkAccess",), "Enabled", "Disabled"),
        (("networkAcls", "defaultAction"), "Allow", "Deny"),
    ):
        operands = at(parameters, *path, "operator", "operands")
        found = tuple(at(operands, name) for name in ("condition", "true_value", "false_value"))
        if found != ("reachableFromOutside", open_value, closed_value):
            yield f"{path[-1]} does not follow the network: {found}"


def _follows_the_network(template: Template, module: str) -> Iterator[str]:
    handed = at(
        body_of(template.file(MAIN).section("modules")[module]),
        "params",
        "reachableFromOutside",
        "operator",
    )
    if at(handed, "type") != "not" or at(handed, "operands", "bool_value") != "networkEnabled":
        yield f"{module} stays reachable from outside of the network"


@rule
def telemetry_needs_an_identity(template: Template) -> Iterator[str]:
    """Application Insights takes no keys, and the app sends as its managed identity."""
    if (
        at(
            body_of(template.file(MONITORING).section("modules")["component"]),
            "params",
            "disableLocalAuth",
        )
        is not True
    ):
        yield "Application Insights takes a connection string alone"
    sends_as = app_settings(template).get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING")
    if sends_as != "ClientId=${identityClientId};Authorization=AAD":
        yield f"the app does not send as its identity: {sends_as}"
    asked = '"telemetryMode": "OpenTelemetry"' in template.text("host.json")
    if asked != (app_settings(template).get("TELEMETRY") == "azure_monitor"):
        yield "telemetryMode in host.json and TELEMETRY do not agree"
    for name in ("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "PYTHON_ENABLE_OPENTELEMETRY"):
        if name in app_settings(template):
            yield f"{name} keeps the lines from the host"
    host = json.loads(template.text("host.json"))
    sampling = at(cast("Json", host), "logging", "applicationInsights", "samplingSettings")
    if at(sampling, "isEnabled") is not False:
        yield "host.json lets the host drop lines"
    kept = [app_settings(template).get(f"OTEL_TRACES_SAMPLER{name}") for name in ("", "_ARG")]
    if kept != ["microsoft.fixed_percentage", "1"]:
        yield f"the host's exporter keeps {kept}"


@rule
def only_https_and_tls_1_2(template: Template) -> Iterator[str]:
    """HTTPS alone, TLS 1.2 or later, no FTP, no publishing with a password."""
    resources = template.file(APP).section("resources")
    properties = at(resources["app"], "config", "properties")
    if at(properties, "httpsOnly") is not True:
        yield "http is answered"
    for name in ("minTlsVersion", "scmMinTlsVersion"):
        if at(properties, "siteConfig", name) not in ("1.2", "1.3"):
            yield f"{name} is {at(properties, 'siteConfig', name)}"
    if at(properties, "siteConfig", "ftpsState") != "Disabled":
        yield "FTP is on"
    policies = [
        body_of(resource)
        for resource in resources.values()
        if str(resource["type"]).endswith("/basicPublishingCredentialsPolicies")
    ]
    closed = {
        str(at(policy, "name")) for policy in policies if at(policy, "properties", "allow") is False
    }
    yield from (
        f"publishing with a password is on: {name}" for name in sorted({"ftp", "scm"} - closed)
    )


@rule
def cors_names_its_origins(template: Template) -> Iterator[str]:
    """Browsers may call from listed origins alone; a wildcard ends the deployment; no credentials."""
    cors = at(
        template.file(APP).section("resources")["app"], "config", "properties", "siteConfig", "cors"
    )
    if (
        at(cors, "allowedOrigins") != "corsAllowedOrigins"
        or at(cors, "supportCredentials") is not False
    ):
        yield f"cors is {cors}"
    main = template.file(MAIN)
    if (
        at(body_of(main.section("modules")["app"]), "params", "corsAllowedOrigins")
        != "checkedOrigins"
    ):
        yield "the origins are not the checked ones"
    if main.section("parameters")["corsAllowedOrigins"]["default"] not in ("", None):
        yield "some origins are allowed from the start"
    check = main.source.partition("var refusedOrigins")[2].partition("\nresource ")[0]
    for part in (
        "contains(origin, '*')",
        "!startsWith(origin, 'https://')",
        "length(split(origin, '/')) != 3",
        "fail(",
    ):
        if part not in check:
            yield f"origins are not checked: {part}"


@rule
def the_package_is_fetched_as_the_identity(template: Template) -> Iterator[str]:
    """The app runs as the user-assigned identity and nothing else, and fetches its package as it."""
    app = at(template.file(APP).section("resources")["app"], "config")
    if at(app, "identity") != {
        "type": "UserAssigned",
        "userAssignedIdentities": {"'${identityResourceId}'": {}},
    }:
        yield f"the app runs as {at(app, 'identity')}"
    storage = at(app, "properties", "functionAppConfig", "deployment", "storage")
    if at(storage, "authentication") != {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": "identityResourceId",
    }:
        yield f"the package is fetched with {at(storage, 'authentication')}"
    if (
        at(storage, "value")
        != "${storage.properties.primaryEndpoints.blob}${deploymentContainerName}"
    ):
        yield "the package is fetched from elsewhere"
    if at(app, "properties", "keyVaultReferenceIdentity") != "identityResourceId":
        yield "the vault is read as somebody else"


@rule
def roles_are_few_and_on_single_resources(template: Template) -> Iterator[str]:
    """Each role is on the list, on the kind of resource that it is for, and given to the managed
    identity; no file but one gives any.
    """
    for file in template.files():
        if str(file.path) != ROLES and (
            "roleAssignments" in file.source or "roleDefinition" in file.source
        ):
            yield f"{file.path} gives roles"
    roles = template.file(ROLES)
    resources = roles.section("resources")
    given = {
        name: body_of(resource)
        for name, resource in resources.items()
        if resource["type"] == "Microsoft.Authorization/roleAssignments"
    }
    missing = set(_ROLES)
    if at(resources["vault"], "config", "name", "operator", "type") != "conditional":
        yield "the vault has no name where there is none, and Azure works the name out all the same"
    for name, assignment in given.items():
        variable = str(
            at(
                assignment,
                "properties",
                "roleDefinitionId",
                "function",
                "parameters",
                "resource_name_1",
            )
        )
        guid = str(at(roles.section("variables").get(variable), "value"))
        scope = resources.get(str(at(assignment, "scope")))
        missing.discard(guid)
        if guid not in _ROLES:
            yield f"{name} gives a role that is not on the list: {guid}"
        elif scope is None or scope["existing"] is not True or scope["type"] != _ROLES[guid][1]:
            yield f"{name} gives {_ROLES[guid][0]} on {at(assignment, 'scope') or 'the resource group'}"
        elif not re.search(rf"var {variable} = '{guid}' // {_ROLES[guid][0]}", roles.source):
            yield f"{variable} does not say that it is {_ROLES[guid][0]}"
        if (
            at(assignment, "properties", "principalId") != "principalId"
            or at(assignment, "properties", "principalType") != "ServicePrincipal"
        ):
            yield f"{name} is not given to the managed identity"
    yield from (f"{_ROLES[guid][0]} is not given" for guid in sorted(missing))


@rule
def the_registration_gives_v2_tokens_of_one_tenant(template: Template) -> Iterator[str]:
    """Both steps register the same: one tenant, v2.0 tokens, the scope that the service asks for,
    no mapped claims.
    """
    file = template.file(REGISTRATION)
    variables = file.section("variables")
    steps = [
        at(file.section("resources")[name], "config") for name in ("registration", "identified")
    ]
    for name, value in (
        ("signInAudience", "AzureADMyOrg"),
        ("api", "api"),
        ("requiredResourceAccess", "graphAccess"),
    ):
        yield from (f"{name} is {at(step, name)}" for step in steps if at(step, name) != value)
    if at(variables["api"], "value", "requestedAccessTokenVersion") != 2:
        yield "tokens are not v2.0"
    if at(steps[1], "identifierUris") != ["api://${registration.appId}"]:
        yield "the Application ID URI is not api:// and the client id"
    if "acceptMappedClaims" in file.source:
        yield "claims may be mapped"
    if at(variables["scopeName"], "value") != Settings.model_fields["required_scope"].default:
        yield "the scope is not the one that the service asks for"


@rule
def the_registration_asks_for_little(template: Template) -> Iterator[str]:
    """One delegated Graph permission, and one for the application where webhooks are on."""
    variables = template.file(REGISTRATION).section("variables")
    asked_of = at(variables["graphAccess"], "value")
    access = at(asked_of, 0, "resourceAccess", "operator", "operands")
    asked = [at(access, name) for name in ("condition", "true_value", "false_value")]
    if (
        asked != ["webhooksEnabled", ["cancelAsUser", "cancelAsApp"], ["cancelAsUser"]]
        or at(asked_of, 0, "resourceAppId") != "graphAppId"
        or at(asked_of, 1) is not None
    ):
        yield f"Graph permissions are {asked}"
    expected = {
        "cancelAsUser": {"id": "02a5a114-36a6-46ff-a102-954d89d9ab02", "type": "Scope"},
        "cancelAsApp": {"id": "0c4b2d20-7919-468d-8668-c54b09d4dee8", "type": "Role"},
    }
    yield from (
        f"{name} is another permission"
        for name, value in expected.items()
        if at(variables.get(name), "value") != value
    )
    if at(variables["graphAppId"], "value") != "00000003-0000-0000-c000-000000000000":
        yield "the permissions are not those of Microsoft Graph"


@rule
def the_registration_trusts_the_managed_identity_alone(template: Template) -> Iterator[str]:
    """The one credential is the managed identity of this deployment, in the words that its tokens
    have.
    """
    file = template.file(REGISTRATION)
    trust = at(file.section("resources")["federatedCredential"], "config")
    if at(trust, "subject") != "identityPrincipalId" or at(trust, "audiences") != [
        "tokenExchangeAudience"
    ]:
        yield "the credential is not the managed identity"
    if (
        at(trust, "issuer")
        != "${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0"
    ):
        yield "the issuer is not the tenant"
    yield from (
        f"{audience} is not among the audiences"
        for audience in set(TOKEN_EXCHANGE_AUDIENCES.values())
        if f"'{audience}'" not in file.source
    )


@rule
def the_network_reaches_everything(template: Template) -> Iterator[str]:
    """The app's subnet is delegated and has a way out; blob, table and vault have a private
    endpoint and its zone.
    """
    file = template.file(NETWORK)
    subnets = at(body_of(file.section("modules")["network"]), "params", "subnets")
    app_subnet = next(
        (subnet for subnet in cast("list[Json]", subnets) if at(subnet, "name") == "appSubnetName"),
        None,
    )
    if (
        at(app_subnet, "delegation") != "Microsoft.App/environments"
        or dotted(at(app_subnet, "natGatewayResourceId")) != "outboundGateway.id"
    ):
        yield "the app's subnet is not delegated, or has no way out"
    links = [
        link
        for name in ("storageLinks", "vaultLinks")
        for link in cast("list[Json]", at(file.section("variables").get(name), "value"))
    ]
    groups = {str(at(link, "groupId")) for link in links}
    yield from (
        f"{group} has no private endpoint" for group in sorted({"blob", "table", "vault"} - groups)
    )
    yield from (
        f"{at(link, 'groupId')} has no private zone"
        for link in links
        if not str(at(link, "zone")).startswith("privatelink")
    )
