"""Rules on what a compiler would refuse, and on what comes in from outside: syntax, references,
modules, versions, names.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import cast

from tests.infra.bicep import BicepFile, Json, Template, Unreadable, at, body_of, dotted
from tests.infra.bicep_rules import (
    MAIN,
    decorator_of,
    rule,
)

# The interface of each Azure Verified Module at the version in use, as far as it is in use: who
# raises a version reads the module and this line again.
VERIFIED_MODULES: Mapping[str, tuple[str, frozenset[str], frozenset[str]]] = {
    "avm/res/managed-identity/user-assigned-identity": (
        "0.4.1",
        frozenset({"name", "location", "tags"}),
        frozenset({"name", "resourceId", "principalId", "clientId"}),
    ),
    "avm/res/storage/storage-account": (
        "0.31.0",
        frozenset(
            {
                "name",
                "location",
                "tags",
                "kind",
                "skuName",
                "allowSharedKeyAccess",
                "defaultToOAuthAuthentication",
                "allowBlobPublicAccess",
            }
            | {
                "allowCrossTenantReplication",
                "supportsHttpsTrafficOnly",
                "minimumTlsVersion",
                "publicNetworkAccess",
                "networkAcls",
            }
            | {"blobServices", "tableServices"}
        ),
        frozenset({"name", "resourceId"}),
    ),
    "avm/res/key-vault/vault": (
        "0.13.3",
        frozenset(
            {
                "name",
                "location",
                "tags",
                "sku",
                "enableRbacAuthorization",
                "enableSoftDelete",
                "softDeleteRetentionInDays",
            }
            | {
                "enablePurgeProtection",
                "enableVaultForDeployment",
                "enableVaultForDiskEncryption",
                "enableVaultForTemplateDeployment",
            }
            | {"publicNetworkAccess", "networkAcls"}
        ),
        frozenset({"name", "resourceId", "uri"}),
    ),
    "avm/res/operational-insights/workspace": (
        "0.11.1",
        frozenset({"name", "location", "tags", "dataRetention"}),
        frozenset({"resourceId"}),
    ),
    "avm/res/insights/component": (
        "0.6.0",
        frozenset({"name", "location", "tags", "workspaceResourceId", "disableLocalAuth"}),
        frozenset({"name", "resourceId"}),
    ),
    "avm/res/network/virtual-network": (
        "0.6.1",
        frozenset({"name", "location", "tags", "addressPrefixes", "subnets"}),
        frozenset({"name", "resourceId"}),
    ),
    "avm/res/network/private-dns-zone": (
        "0.7.1",
        frozenset({"name", "location", "tags", "virtualNetworkLinks"}),
        frozenset({"name", "resourceId"}),
    ),
    "avm/res/network/private-endpoint": (
        "0.11.0",
        frozenset(
            {
                "name",
                "location",
                "tags",
                "subnetResourceId",
                "privateLinkServiceConnections",
                "privateDnsZoneGroup",
            }
        ),
        frozenset({"name", "resourceId"}),
    ),
}


# Everything that a deployment makes.
_MADE = Counter(
    {
        "main.bicep: Microsoft.Resources/resourceGroups": 1,
        "main.bicep: avm/res/managed-identity/user-assigned-identity": 1,
        "registration.bicep: Microsoft.Graph/applications": 2,  # in two steps
        "registration.bicep: Microsoft.Graph/servicePrincipals": 1,
        "registration.bicep: Microsoft.Graph/applications/federatedIdentityCredentials": 1,
        "storage.bicep: avm/res/storage/storage-account": 1,
        "vault.bicep: avm/res/key-vault/vault": 1,
        "roles.bicep: Microsoft.Authorization/roleAssignments": 4,
        "network.bicep: Microsoft.Network/publicIPAddresses": 1,
        "network.bicep: Microsoft.Network/natGateways": 1,
        "network.bicep: avm/res/network/virtual-network": 1,
        "network.bicep: avm/res/network/private-dns-zone": 1,  # in a loop, as are the endpoints and the alerts
        "network.bicep: avm/res/network/private-endpoint": 1,
        "app.bicep: Microsoft.Web/serverfarms": 1,
        "app.bicep: Microsoft.Web/sites": 1,
        "app.bicep: Microsoft.Web/sites/config": 1,
        "app.bicep: Microsoft.Web/sites/basicPublishingCredentialsPolicies": 2,
        "monitoring.bicep: avm/res/operational-insights/workspace": 1,
        "monitoring.bicep: avm/res/insights/component": 1,
        "monitoring.bicep: Microsoft.Insights/actionGroups": 1,
        "monitoring.bicep: Microsoft.Insights/scheduledQueryRules": 1,
        "monitoring.bicep: Microsoft.Insights/metricAlerts": 1,
        "monitoring.bicep: Microsoft.Insights/workbooks": 1,
    }
)


# Which output of which module reaches which parameter.
_WIRES: Mapping[tuple[str, str], str] = {
    ("registration", "identityPrincipalId"): "identity.outputs.principalId",
    ("roles", "principalId"): "identity.outputs.principalId",
    ("roles", "storageAccountName"): "storage.outputs.name",
    ("roles", "componentName"): "monitoring.outputs.componentName",
    ("app", "identityResourceId"): "identity.outputs.resourceId",
    ("app", "identityClientId"): "identity.outputs.clientId",
    ("app", "apiClientId"): "registration.outputs.clientId",
    ("app", "storageAccountName"): "storage.outputs.name",
    ("app", "componentName"): "monitoring.outputs.componentName",
}


# The functions and decorators that the files may call (Bicep reference).
_FUNCTIONS = frozenset(
    [
        "allowed",
        "concat",
        "contains",
        "description",
        "empty",
        "environment",
        "fail",
        "filter",
        "guid",
        "join",
        "length",
        "loadTextContent",
        "map",
        "maxLength",
        "maxValue",
        "metadata",
        "min",
        "minLength",
        "minValue",
        "replace",
        "resourceGroup",
        "secure",
        "split",
        "startsWith",
        "string",
        "subscription",
        "subscriptionResourceId",
        "tenant",
        "toLower",
        "trim",
        "union",
        "uniqueString",
    ]
)


@rule
def every_file_is_bicep(template: Template) -> Iterator[str]:
    """Every file parses, and calls only functions that exist."""
    for path, text in template.texts.items():
        if path.suffix != ".bicep":
            continue
        try:
            file = Template({path: text}).files()[0]
        except Unreadable as error:
            yield str(error)
            continue
        yield from (
            f"{path}: no such function: {name}" for name in sorted(file.functions() - _FUNCTIONS)
        )


@rule
def every_reference_resolves(template: Template) -> Iterator[str]:
    """What is referred to is declared, and what is declared as a parameter or variable is used."""
    extensions = at(cast("Json", json.loads(template.text("infra/bicepconfig.json"))), "extensions")
    for file in template.files():
        used = {reference.name for reference in file.references()}
        yield from (
            f"{file.path}: {name} is declared nowhere" for name in sorted(used - file.declared)
        )
        idle = (set(file.section("parameters")) | set(file.section("variables"))) - used
        yield from (f"{file.path}: {name} is never used" for name in sorted(idle))
        for name in re.findall(r"^extension (\w+)$", file.source, re.MULTILINE):
            if at(extensions, name) is None:
                yield f"{file.path}: the extension {name} is not in bicepconfig.json"
        if (
            "'Microsoft.Graph/" in file.source
            and "\nextension microsoftGraphV1\n" not in file.source
        ):
            yield f"{file.path}: Microsoft.Graph without its extension"


@rule
def every_module_fits(template: Template) -> Iterator[str]:
    """Each module exists, is given what it asks for and nothing else, and is asked for outputs that
    it has.
    """
    for file in template.files():
        interfaces = {
            name: _interface(template, file, module)
            for name, module in file.section("modules").items()
        }
        for name, module in file.section("modules").items():
            interface = interfaces[name]
            if interface is None:
                yield f"{file.path}: the module {name} leads nowhere"
                continue
            required, known, _ = interface
            given = at(body_of(module), "params")
            passed = frozenset(given) if isinstance(given, Mapping) else frozenset()
            yield from (
                f"{file.path}: {name} has no parameter {extra}" for extra in sorted(passed - known)
            )
            yield from (
                f"{file.path}: {name} lacks the parameter {missing}"
                for missing in sorted(required - passed)
            )
        for reference in file.references():
            interface = interfaces.get(reference.name)
            if interface is None or reference.properties[:1] != ("outputs",):
                continue
            name = reference.properties[1] if len(reference.properties) > 1 else "at all"
            if name not in interface[2]:
                yield f"{file.path}: {reference.name} has no output {name}"


def _interface(
    template: Template, file: BicepFile, module: Mapping[str, Json]
) -> tuple[frozenset[str], frozenset[str], frozenset[str]] | None:
    """Return what a module needs, what it takes and what it puts out; None where there is no such
    module.
    """
    if module["type"] != "local":
        known = VERIFIED_MODULES.get(str(at(module, "detail", "path")))
        return None if known is None else (frozenset({"name"}), known[1], known[2])
    path = file.path.parent / str(at(module, "detail", "path"))
    if path not in template.texts:
        return None
    target = template.file(str(path))
    parameters = target.section("parameters")
    required = frozenset(
        name
        for name, parameter in parameters.items()
        if not re.search(rf"^param {name} [^\n=]+=", target.source, re.MULTILINE)
    )
    return required, frozenset(parameters), frozenset(target.section("outputs"))


@rule
def nothing_else_is_made(template: Template) -> Iterator[str]:
    """What a deployment makes is the list below: whatever else comes in has to be looked at first."""
    made = Counter(
        f"{file.path.name}: {what}"
        for file in template.files()
        for what in (
            *(
                str(resource["type"])
                for resource in file.section("resources").values()
                if resource["existing"] is not True
            ),
            *(
                str(at(module, "detail", "path"))
                for module in file.section("modules").values()
                if module["type"] != "local"
            ),
        )
    )
    yield from (f"not on the list, or too often: {what}" for what in sorted(made - _MADE))
    yield from (f"on the list, and not made: {what}" for what in sorted(_MADE - made))


@rule
def identities_go_where_they_belong(template: Template) -> Iterator[str]:
    """The client id, the object id and the resource id of an identity look alike: each reaches the
    parameter that means it; the app waits for its roles.
    """
    modules = template.file(MAIN).section("modules")
    for (module, parameter), source in _WIRES.items():
        found = dotted(at(body_of(modules[module]), "params", parameter))
        if found != source:
            yield f"{module}.{parameter} is {found or 'something else'}, not {source}"
    if at(body_of(modules["app"]), "dependsOn") != ["roles"]:
        yield "the app does not wait for its roles"


@rule
def every_deployment_has_a_name_of_its_own(template: Template) -> Iterator[str]:
    """Modules of one resource group are deployments side by side: two of one name overwrite each
    other.
    """
    named = [
        str(at(body_of(module), "name"))
        for file in template.files()
        for module in file.section("modules").values()
    ]
    yield from (
        f"two deployments are named {name}" for name in sorted(set(named)) if named.count(name) > 1
    )


@rule
def every_version_is_pinned(template: Template) -> Iterator[str]:
    """Modules, extensions and API versions are exact, and no preview."""
    for file in template.files():
        for name, module in file.section("modules").items():
            if module["type"] == "local":
                continue
            known = VERIFIED_MODULES.get(str(at(module, "detail", "path")))
            tag = str(at(module, "detail", "tag"))
            if (
                at(module, "detail", "alias") != "public"
                or not re.fullmatch(r"\d+\.\d+\.\d+", tag)
                or known is None
                or known[0] != tag
            ):
                yield f"{file.path}: {name} is not pinned to a version that was looked at: {tag}"
        for name, resource in file.section("resources").items():
            version = str(resource["api_version"])
            graph = str(resource["type"]).startswith("Microsoft.Graph/")
            if not re.fullmatch(r"v1\.0" if graph else r"\d{4}-\d{2}-\d{2}", version):
                yield f"{file.path}: {name} has the API version {version}"
    extensions = at(cast("Json", json.loads(template.text("infra/bicepconfig.json"))), "extensions")
    for name, address in extensions.items() if isinstance(extensions, Mapping) else ():
        if not re.fullmatch(
            r"br:mcr\.microsoft\.com/bicep/extensions/[\w/.]+:\d+\.\d+\.\d+", str(address)
        ):
            yield f"the extension {name} is not pinned: {address}"


@rule
def everything_is_described(template: Template) -> Iterator[str]:
    """Every parameter and output has a description."""
    for file in template.files():
        for section in ("parameters", "outputs"):
            for name, declaration in file.section(section).items():
                said = decorator_of(declaration, "description")
                if not isinstance(said, str) or len(said) < 4:
                    yield f"{file.path}: {name} is not described"
