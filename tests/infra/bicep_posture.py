"""What a security review would ask of every resource that a deployment makes."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.entra.credentials import _EXCHANGE_AUDIENCES as TOKEN_EXCHANGE_AUDIENCES
from shared.settings import Settings
from tests.infra.bicep import SECRET_NAME, Deployment, Rule, at

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
_SECRET = re.compile(
    r"\blist[A-Z]\w*\(|AccountKey=|SharedAccess|[pP]rimaryKey|InstrumentationKey|passwordCredentials"
    r"|keyCredentials|whsec_"
)


def differences(found: Any, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Say what is not as it should be, by its path."""
    for path, value in wanted.items():
        if at(found, path) != value:
            yield f"{path} is {at(found, path)!r}, not {value!r}"


def no_secret_is_made(deployment: Deployment) -> Iterator[str]:
    """No key is listed, none is an output, none stands in a resource."""
    yield from (found.group() for found in _SECRET.finditer(json.dumps(deployment.resources)))
    for name, value in deployment.outputs.items():
        if SECRET_NAME.search(name) or SECRET_NAME.search(str(value)):
            yield f"the output {name} may be secret"
    for name, value in deployment.settings.items():
        if SECRET_NAME.search(name) and not name.startswith("APPLICATIONINSIGHTS_"):
            if not str(value).removeprefix("[format('").startswith("@Microsoft.KeyVault("):
                yield f"{name} holds a secret"


def storage_is_closed(deployment: Deployment) -> Iterator[str]:
    """No keys, no public blobs, TLS 1.2; a deleted package is kept for a while."""
    for account in deployment.all("storageAccounts"):
        yield from differences(
            account["properties"],
            {
                "allowSharedKeyAccess": False,
                "allowBlobPublicAccess": False,
                "allowCrossTenantReplication": False,
                "defaultToOAuthAuthentication": True,
                "isLocalUserEnabled": False,
                "isSftpEnabled": False,
                "minimumTlsVersion": "TLS1_2",
                "supportsHttpsTrafficOnly": True,
            },
        )
    for container in deployment.all("containers"):
        yield from differences(container, {"properties.publicAccess": "None"})
    for policy in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        if not at(deployment.of("blobServices"), f"{policy}.days"):
            yield f"{policy} is on, for no number of days"
    if deployment.of("tables", "name").rpartition("/")[2] != deployment.settings.get(
        "IDEMPOTENCY_TABLE_NAME"
    ):
        yield "the table of the records is not made"


def the_vault_is_closed(deployment: Deployment) -> Iterator[str]:
    """Roles instead of access policies, nothing lost by a deletion, and who read is written down."""
    for vault in deployment.all("vaults"):
        yield from differences(
            vault["properties"],
            {
                "enableRbacAuthorization": True,
                "enablePurgeProtection": True,
                "enableSoftDelete": True,
                "enabledForDeployment": False,
                "enabledForDiskEncryption": False,
                "enabledForTemplateDeployment": False,
                "accessPolicies": [],
            },
        )
        logs = [at(one, "properties.logs") for one in deployment.all("diagnosticSettings")]
        if not any(at(kept, "0.categoryGroup") == "audit" for kept in logs):
            yield "nobody knows who read the vault"


def a_network_closes_the_rest(deployment: Deployment) -> Iterator[str]:
    """Inside a network everything that holds data answers there alone, and has an endpoint there."""
    holders = [*deployment.all("storageAccounts"), *deployment.all("vaults")]
    if not deployment.all("virtualNetworks"):
        return
    for holder in holders:
        closed = {"publicNetworkAccess": "Disabled", "networkAcls.defaultAction": "Deny"}
        yield from differences(holder["properties"], closed)
    reached = {
        group
        for endpoint in deployment.all("privateEndpoints")
        for link in at(endpoint, "properties.privateLinkServiceConnections")
        for group in at(link, "properties.groupIds")
    }
    wanted = {"blob", "table"} | ({"vault"} if deployment.all("vaults") else set())
    yield from (f"{group} has no private endpoint" for group in sorted(wanted - reached))
    zones = [zone["name"] for zone in deployment.all("privateDnsZones")]
    if len(zones) != len(wanted) or not all("privatelink" in zone for zone in zones):
        yield f"the private zones are {zones}"
    (subnet,) = [one for one in deployment.all("subnets") if one["name"].endswith("/app")]
    if (
        at(subnet, "properties.delegations.0.properties.serviceName")
        != "Microsoft.App/environments"
    ):
        yield "the app's subnet is not delegated"
    if not at(subnet, "properties.natGateway.id"):
        yield "the app's subnet has no way out"
    if not str(deployment.of("Web/sites", "properties.virtualNetworkSubnetId")).endswith("/app"):
        yield "the app is not inside"


def telemetry_is_kept_sparingly(deployment: Deployment) -> Iterator[str]:
    """No keys, no addresses, one retention, a bound on a day, and the app sends as its identity."""
    workspace = deployment.of("workspaces")
    yield from differences(
        workspace,
        {
            "features.disableLocalAuth": True,
            "features.enableLogAccessUsingOnlyResourcePermissions": True,
            "forceCmkForQuery": False,
        },
    )
    yield from differences(
        deployment.of("components"),
        {
            "DisableIpMasking": False,
            "DisableLocalAuth": True,
            "RetentionInDays": workspace["retentionInDays"],
        },
    )
    if not 0 < at(workspace, "workspaceCapping.dailyQuotaGb") <= 10:
        yield "nothing bounds the bill of the logs"
    sends_as = deployment.settings.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    if not re.fullmatch(
        r"\[format\('ClientId=\{0\};Authorization=AAD', .*\.clientId\)\]", sends_as
    ):
        yield f"the app does not send as its identity: {sends_as}"
    for name in ("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "PYTHON_ENABLE_OPENTELEMETRY"):
        if name in deployment.settings:
            yield f"{name} keeps the lines that the alerts read from the host"


def only_https_and_tls_1_2(deployment: Deployment) -> Iterator[str]:
    """HTTPS alone, TLS 1.2 or later, no FTP, no publishing with a password, no wildcard."""
    yield from differences(
        deployment.of("Web/sites"),
        {
            "httpsOnly": True,
            "siteConfig.minTlsVersion": "1.2",
            "siteConfig.scmMinTlsVersion": "1.2",
            "siteConfig.ftpsState": "Disabled",
            "siteConfig.cors.supportCredentials": False,
        },
    )
    known = {"minTlsVersion", "scmMinTlsVersion", "ftpsState", "http20Enabled", "cors"}
    site = deployment.of("Web/sites", "properties.siteConfig")
    yield from (f"siteConfig holds {name}" for name in sorted(set(site) - known))
    for origin in site["cors"]["allowedOrigins"]:
        if "*" in origin or not origin.startswith("https://"):
            yield f"browsers may call from {origin}"
    policies = deployment.all("basicPublishingCredentialsPolicies")
    closed = {one["name"].rpartition("/")[2] for one in policies if not one["properties"]["allow"]}
    yield from (f"publishing with a password is on: {name}" for name in {"ftp", "scm"} - closed)


def the_app_is_one_identity(deployment: Deployment) -> Iterator[str]:
    """The app runs as the managed identity alone, and fetches its package and its secrets as it."""
    identity = deployment.of("userAssignedIdentities", "id")
    app = deployment.all("Web/sites")[0]
    package = "properties.functionAppConfig.deployment.storage"
    yield from differences(
        app,
        {
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
            "properties.keyVaultReferenceIdentity": identity,
            f"{package}.authentication": {
                "type": "UserAssignedIdentity",
                "userAssignedIdentityResourceId": identity,
            },
        },
    )
    container = deployment.of("containers", "name").rpartition("/")[2]
    if f"'{container}'" not in str(at(app, f"{package}.value")):
        yield "the package is fetched from elsewhere"
    for name in ("MANAGED_IDENTITY_CLIENT_ID", "AzureWebJobsStorage__clientId"):
        wanted = rf"\[reference\('{re.escape(identity)}', '[\d-]+'\)\.clientId\]"
        if not re.fullmatch(wanted, deployment.settings.get(name, "")):
            yield f"{name} is not the identity's client id"
    if deployment.settings["CLIENT_ID"] != "[reference('identified').appId]":
        yield "CLIENT_ID is not the registration"


def roles_are_few_and_on_single_resources(deployment: Deployment) -> Iterator[str]:
    """Each role is on the list, on the kind of resource that it is for, for the identity alone."""
    identity = deployment.of("userAssignedIdentities", "id")
    given = []
    for assignment in deployment.all("roleAssignments"):
        role = str(at(assignment, "properties.roleDefinitionId")).rpartition("/")[2]
        scope = re.match(r"\[extensionResourceId\('([^']+)'", assignment.get("id", ""))
        given.append(role)
        if role not in _ROLES:
            yield f"a role that is not on the list: {role}"
        elif scope is None or scope[1].split("/")[-2] != _ROLES[role][1]:
            yield f"{_ROLES[role][0]} is given on {scope and scope[1]}"
        if f"'{identity}'" not in str(at(assignment, "properties.principalId")) or not str(
            at(assignment, "properties.principalId")
        ).endswith(").principalId]"):
            yield f"{role} is given to somebody else"
    wanted = set(_ROLES) if deployment.all("vaults") else {*list(_ROLES)[:3]}
    yield from (f"{_ROLES[role][0]} is not given" for role in sorted(wanted - set(given)))


def the_registration_asks_for_little(deployment: Deployment) -> Iterator[str]:
    """One tenant, v2.0 tokens, our scope, one permission; those of webhooks where they are on."""
    apps = [one["properties"] for one in deployment.all("applications")]
    apis = [app for app in apps if not app["uniqueName"].endswith("-connector")]
    webhooks = "WEBHOOK_KEYS" in deployment.settings
    asked = [(_CANCEL_AS_USER, "Scope"), *((role, "Role") for role in _GRAPH_ROLES if webhooks)]
    for app in apps:
        yield from differences(app, {"signInAudience": "AzureADMyOrg"})
        if at(app, "owners.relationshipSemantics") != "append":
            yield "a second deployment by a pipeline may not touch the registration"
    for api in apis:
        yield from differences(
            api,
            {
                "api.requestedAccessTokenVersion": 2,
                "api.acceptMappedClaims": None,
                "api.oauth2PermissionScopes.0.value": Settings.model_fields[
                    "required_scope"
                ].default,
                "requiredResourceAccess": [
                    {
                        "resourceAppId": _GRAPH,
                        "resourceAccess": [{"id": what, "type": kind} for what, kind in asked],
                    }
                ],
            },
        )
    named = [api["identifierUris"] for api in apis if "identifierUris" in api]
    if len(apis) != 2 or named != [["[format('api://{0}', reference('registration').appId)]"]]:
        yield f"the Application ID URI is {named}"


def the_registration_trusts_the_managed_identity_alone(deployment: Deployment) -> Iterator[str]:
    """The one credential is the managed identity of this deployment, as its tokens say it."""
    cloud = deployment.settings["CLOUD"]
    tenant = deployment.settings["TENANT_ID"]
    host = "login.microsoftonline.com" if cloud == "global" else "login.microsoftonline.us"
    yield from differences(
        deployment.of("federatedIdentityCredentials"),
        {
            "issuer": f"https://{host}/{tenant}/v2.0",
            "audiences": [
                TOKEN_EXCHANGE_AUDIENCES[Settings.model_fields["cloud"].default.__class__(cloud)]
            ],
        },
    )
    subject = str(deployment.of("federatedIdentityCredentials", "properties.subject"))
    if "/userAssignedIdentities/" not in subject or not subject.endswith(").principalId]"):
        yield "the credential is not the managed identity"


POSTURE: tuple[Rule[Deployment], ...] = (
    no_secret_is_made,
    storage_is_closed,
    the_vault_is_closed,
    a_network_closes_the_rest,
    telemetry_is_kept_sparingly,
    only_https_and_tls_1_2,
    the_app_is_one_identity,
    roles_are_few_and_on_single_resources,
    the_registration_asks_for_little,
    the_registration_trusts_the_managed_identity_alone,
)
