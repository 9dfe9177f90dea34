"""Mistakes that somebody may make in the deployment template, and the rule of which each has to be caught."""

from dataclasses import dataclass

from tests.infra.bicep_rules import APP, MAIN, MONITORING, NETWORK, REGISTRATION, ROLES, STORAGE, VAULT


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong edit: in ``path``, ``old`` becomes ``new``. ``caught_by`` is the name of a rule."""

    name: str
    caught_by: str
    path: str
    old: str
    new: str


_BLOB_ROLE = "  name: guid(storage.id, principalId, storageBlobDataOwner)\n  scope: storage\n"

MISTAKES = (
    # Syntax and references
    Mistake("a bracket too few", "every_file_is_bicep", STORAGE, "    tableServices: {\n", "    tableServices: \n"),
    Mistake("a function that does not exist", "every_file_is_bicep", MAIN, "toLower(uniqueString(", "lower(uniqueString("),
    Mistake("a dangling reference", "every_reference_resolves", APP, "    serverFarmId: plan.id\n", "    serverFarmId: hostingPlan.id\n"),
    Mistake("a dangling reference in a text", "every_reference_resolves", APP, "'ClientId=${identityClientId};", "'ClientId=${clientId};"),
    Mistake(
        "a parameter that nothing uses",
        "every_reference_resolves",
        APP,
        "        instanceMemoryMB: instanceMemoryMB\n",
        "        instanceMemoryMB: 2048\n",
    ),
    Mistake("an extension that is not declared", "every_reference_resolves", "infra/bicepconfig.json", '"microsoftGraphV1"', '"graph"'),
    Mistake("a module that is not there", "every_module_fits", MAIN, "'modules/vault.bicep'", "'modules/keyvault.bicep'"),
    Mistake("a module parameter left out", "every_module_fits", MAIN, "    skuName: storageSku\n", ""),
    Mistake(
        "a module parameter that it has not",
        "every_module_fits",
        MAIN,
        "    skuName: storageSku\n",
        "    skuName: storageSku\n    sku: storageSku\n",
    ),
    Mistake(
        "a verified module's parameter misspelt", "every_module_fits", STORAGE, "allowSharedKeyAccess: false", "allowSharedKeyAcces: false"
    ),
    Mistake(
        "an output that does not exist",
        "every_module_fits",
        MAIN,
        "network!.outputs.appSubnetResourceId",
        "network!.outputs.subnetResourceId",
    ),
    Mistake(
        "two deployments of one name",
        "every_deployment_has_a_name_of_its_own",
        STORAGE,
        "  name: 'storage-account'\n",
        "  name: 'storage'\n",
    ),
    # What is made, and for whom
    Mistake(
        "a second storage account",
        "nothing_else_is_made",
        ROLES,
        "resource component ",
        "resource spare 'Microsoft.Storage/storageAccounts@2023-05-01' = {\n  name: 'spare'\n}\n\nresource component ",
    ),
    Mistake(
        "a role on the subscription",
        "nothing_else_is_made",
        MAIN,
        "module roles 'modules/roles.bicep'",
        "resource everywhere 'Microsoft.Authorization/roleAssignments@2022-04-01' = {\n  name: guid(token)\n}\n\nmodule roles 'modules/roles.bicep'",
    ),
    Mistake(
        "the client id where the object id belongs",
        "identities_go_where_they_belong",
        MAIN,
        "    identityPrincipalId: identity.outputs.principalId\n",
        "    identityPrincipalId: identity.outputs.clientId\n",
    ),
    Mistake(
        "the identity's client id as the API's",
        "identities_go_where_they_belong",
        MAIN,
        "    apiClientId: registration.outputs.clientId\n",
        "    apiClientId: identity.outputs.clientId\n",
    ),
    Mistake("an app that does not wait for its roles", "identities_go_where_they_belong", MAIN, "  dependsOn: [roles]\n", ""),
    # Versions
    Mistake("a module that floats", "every_version_is_pinned", STORAGE, "storage-account:0.31.0", "storage-account:latest"),
    Mistake("a module raised without a look", "every_version_is_pinned", VAULT, "vault:0.13.3", "vault:0.14.0"),
    Mistake(
        "a preview API",
        "every_version_is_pinned",
        APP,
        "'Microsoft.Web/serverfarms@2024-04-01'",
        "'Microsoft.Web/serverfarms@2024-04-01-preview'",
    ),
    Mistake(
        "the beta of Graph",
        "every_version_is_pinned",
        REGISTRATION,
        "'Microsoft.Graph/servicePrincipals@v1.0'",
        "'Microsoft.Graph/servicePrincipals@beta'",
    ),
    Mistake("an extension that floats", "every_version_is_pinned", "infra/bicepconfig.json", "v1.0:1.0.0", "v1.0:latest"),
    # Descriptions and secrets
    Mistake("a parameter without description", "everything_is_described", STORAGE, "@description('Redundancy.')\n", ""),
    Mistake("an output without description", "everything_is_described", APP, "@description('Name of the Function App.')\noutput", "output"),
    Mistake(
        "a key in an output",
        "no_secret_passes_through",
        ROLES,
        "resource vault ",
        "output storageKey string = storage.listKeys().keys[0].value\n\nresource vault ",
    ),
    Mistake(
        "a connection string in an output",
        "no_secret_passes_through",
        APP,
        "output name string = app.name",
        "output name string = component.properties.ConnectionString",
    ),
    Mistake(
        "a secret as a plain parameter",
        "no_secret_passes_through",
        MAIN,
        "@description('Who is mailed when an alert fires.",
        "@description('The secret.')\nparam clientSecret string\n\n@description('Who is mailed when an alert fires.",
    ),
    Mistake(
        "a secret with a default",
        "no_secret_passes_through",
        MAIN,
        "@description('Who is mailed when an alert fires.",
        "@secure()\n@description('The secret.')\nparam clientSecret string = 'changeit'\n\n@description('Who is mailed when an alert fires.",
    ),
    Mistake(
        "a password on the registration",
        "no_secret_passes_through",
        REGISTRATION,
        "  identifierUris: ['api://${registration.appId}']\n",
        "  identifierUris: ['api://${registration.appId}']\n  passwordCredentials: [{ displayName: 'app' }]\n",
    ),
    # Settings
    Mistake("a setting left out", "settings_are_those_that_are_read", APP, "  IDEMPOTENCY_STORE: 'table'\n", ""),
    Mistake(
        "a setting that nobody reads", "settings_are_those_that_are_read", APP, "  CLOUD: cloud\n", "  CLOUD: cloud\n  LOG_LEVEL: 'info'\n"
    ),
    Mistake("a setting misspelt", "settings_are_those_that_are_read", APP, "  MANAGED_IDENTITY_CLIENT_ID:", "  MANAGED_IDENTITY_CLIENTID:"),
    Mistake("a body limit left out", "settings_are_those_that_are_read", APP, "  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '1048576'\n", ""),
    Mistake(
        "a setting of another plan",
        "settings_are_those_that_are_read",
        APP,
        "  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
        "  FUNCTIONS_WORKER_RUNTIME: 'python'\n  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
    ),
    Mistake(
        "a client secret",
        "settings_are_those_that_are_read",
        APP,
        "  MANAGED_IDENTITY_CLIENT_ID: identityClientId\n",
        "  MANAGED_IDENTITY_CLIENT_ID: identityClientId\n  CLIENT_SECRET: apiClientId\n",
    ),
    Mistake(
        "webhook keys in plain sight",
        "settings_are_those_that_are_read",
        APP,
        "'@Microsoft.KeyVault(SecretUri=https://${keyVaultName}${environment().suffixes.keyvaultDns}/secrets/webhook-keys/)'",
        "'[${keyVaultName}]'",
    ),
    Mistake(
        "settings past the list",
        "settings_are_those_that_are_read",
        APP,
        "      http20Enabled: true\n",
        "      http20Enabled: true\n      appSettings: [{ name: 'DEBUG', value: 'true' }]\n",
    ),
    Mistake("two credentials", "the_service_starts_with_these_settings", APP, "  CLOUD: cloud\n", "  CLOUD: cloud\n  CLIENT_SECRET: 'x'\n"),
    Mistake(
        "records in memory", "the_service_starts_with_these_settings", APP, "IDEMPOTENCY_STORE: 'table'", "IDEMPOTENCY_STORE: 'memory'"
    ),
    Mistake(
        "open to every application",
        "the_service_starts_with_these_settings",
        APP,
        "empty(allowedClientIds) ? apiClientId",
        "empty(allowedClientIds) ? ''",
    ),
    # Storage and vault
    Mistake("keys on", "storage_is_closed", STORAGE, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
    Mistake("public blobs", "storage_is_closed", STORAGE, "allowBlobPublicAccess: false", "allowBlobPublicAccess: true"),
    Mistake("a public container", "storage_is_closed", STORAGE, "publicAccess: 'None'", "publicAccess: 'Blob'"),
    Mistake("TLS 1.0 for storage", "storage_is_closed", STORAGE, "minimumTlsVersion: 'TLS1_2'", "minimumTlsVersion: 'TLS1_0'"),
    Mistake("http for storage", "storage_is_closed", STORAGE, "supportsHttpsTrafficOnly: true", "supportsHttpsTrafficOnly: false"),
    Mistake("storage open beside the network", "storage_is_closed", STORAGE, "reachableFromOutside ? 'Enabled' : 'Disabled'", "'Enabled'"),
    Mistake(
        "storage told that it is open",
        "storage_is_closed",
        MAIN,
        "    tableName: tableName\n    reachableFromOutside: !networkEnabled\n",
        "    tableName: tableName\n    reachableFromOutside: true\n",
    ),
    Mistake(
        "access policies instead of roles", "the_vault_is_closed", VAULT, "enableRbacAuthorization: true", "enableRbacAuthorization: false"
    ),
    Mistake("a vault that can be purged", "the_vault_is_closed", VAULT, "enablePurgeProtection: true", "enablePurgeProtection: false"),
    # Telemetry
    Mistake(
        "a connection string alone opens telemetry",
        "telemetry_needs_an_identity",
        MONITORING,
        "    disableLocalAuth: true\n",
        "    disableLocalAuth: false\n",
    ),
    Mistake(
        "telemetry without identity",
        "telemetry_needs_an_identity",
        APP,
        "  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'\n",
        "",
    ),
    Mistake("OpenTelemetry asked of the host alone", "telemetry_needs_an_identity", APP, "  TELEMETRY: 'azure_monitor'\n", ""),
    Mistake(
        "OpenTelemetry asked of the service alone",
        "telemetry_needs_an_identity",
        "host.json",
        '  "telemetryMode": "OpenTelemetry",\n',
        "",
    ),
    Mistake(
        "the worker takes the lines away from the host",
        "telemetry_needs_an_identity",
        APP,
        "  APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'\n",
        "  APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'\n  PYTHON_ENABLE_OPENTELEMETRY: 'true'\n",
    ),
    # The app
    Mistake("http answered", "only_https_and_tls_1_2", APP, "httpsOnly: true", "httpsOnly: false"),
    Mistake("TLS 1.0", "only_https_and_tls_1_2", APP, "      minTlsVersion: '1.2'", "      minTlsVersion: '1.0'"),
    Mistake("FTP on", "only_https_and_tls_1_2", APP, "ftpsState: 'Disabled'", "ftpsState: 'AllAllowed'"),
    Mistake(
        "publishing with a password",
        "only_https_and_tls_1_2",
        APP,
        "  name: 'scm'\n  properties: {\n    allow: false",
        "  name: 'scm'\n  properties: {\n    allow: true",
    ),
    Mistake("any origin", "cors_names_its_origins", APP, "allowedOrigins: corsAllowedOrigins", "allowedOrigins: ['*']"),
    Mistake("origins unchecked", "cors_names_its_origins", MAIN, "corsAllowedOrigins: checkedOrigins", "corsAllowedOrigins: origins"),
    Mistake("a wildcard let through", "cors_names_its_origins", MAIN, " || contains(origin, '*')", ""),
    Mistake(
        "any origin from the start",
        "cors_names_its_origins",
        MAIN,
        "param corsAllowedOrigins string = ''",
        "param corsAllowedOrigins string = '*'",
    ),
    Mistake("another Python", "python_is_the_same_everywhere", APP, "version: '3.13'", "version: '3.12'"),
    Mistake(
        "the project moves to another Python",
        "python_is_the_same_everywhere",
        "pyproject.toml",
        'requires-python = ">=3.13,<3.14"',
        'requires-python = ">=3.14,<3.15"',
    ),
    Mistake(
        "another plan", "python_is_the_same_everywhere", APP, "name: 'FC1'\n    tier: 'FlexConsumption'", "name: 'Y1'\n    tier: 'Dynamic'"
    ),
    Mistake(
        "the package fetched with a connection string",
        "the_package_is_fetched_as_the_identity",
        APP,
        "            type: 'UserAssignedIdentity'\n            userAssignedIdentityResourceId: identityResourceId\n",
        "            type: 'StorageAccountConnectionString'\n            storageAccountConnectionStringName: 'DEPLOYMENT_STORAGE'\n",
    ),
    Mistake(
        "another identity beside",
        "the_package_is_fetched_as_the_identity",
        APP,
        "    type: 'UserAssigned'\n",
        "    type: 'SystemAssigned, UserAssigned'\n",
    ),
    # Roles
    Mistake(
        "a role that may everything",
        "roles_are_few_and_on_single_resources",
        ROLES,
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    ),
    Mistake(
        "a role under another name",
        "roles_are_few_and_on_single_resources",
        ROLES,
        "// Key Vault Secrets User: reads",
        "// Key Vault Reader: reads",
    ),
    Mistake(
        "a role on the resource group",
        "roles_are_few_and_on_single_resources",
        ROLES,
        _BLOB_ROLE,
        _BLOB_ROLE.replace("  scope: storage\n", ""),
    ),
    Mistake(
        "a role on the wrong resource",
        "roles_are_few_and_on_single_resources",
        ROLES,
        "principalId, monitoringMetricsPublisher)\n  scope: component",
        "principalId, monitoringMetricsPublisher)\n  scope: storage",
    ),
    Mistake(
        "a role given elsewhere",
        "roles_are_few_and_on_single_resources",
        STORAGE,
        "    tableServices: {\n",
        "    roleAssignments: [{ principalId: name, roleDefinitionIdOrName: 'Owner' }]\n    tableServices: {\n",
    ),
    # The registration
    Mistake(
        "v1.0 tokens",
        "the_registration_gives_v2_tokens_of_one_tenant",
        REGISTRATION,
        "requestedAccessTokenVersion: 2",
        "requestedAccessTokenVersion: 1",
    ),
    Mistake(
        "every tenant",
        "the_registration_gives_v2_tokens_of_one_tenant",
        REGISTRATION,
        "'AzureADMyOrg'\n  api: api\n  requiredResourceAccess: graphAccess\n}",
        "'AzureADMultipleOrgs'\n  api: api\n  requiredResourceAccess: graphAccess\n}",
    ),
    Mistake(
        "a second step that forgets the first",
        "the_registration_gives_v2_tokens_of_one_tenant",
        REGISTRATION,
        "  requiredResourceAccess: graphAccess\n  identifierUris:",
        "  identifierUris:",
    ),
    Mistake(
        "an Application ID URI of another kind",
        "the_registration_gives_v2_tokens_of_one_tenant",
        REGISTRATION,
        "['api://${registration.appId}']",
        "['https://${uniqueName}.example']",
    ),
    Mistake(
        "the application permission always",
        "the_registration_asks_for_little",
        REGISTRATION,
        "webhooksEnabled ? [cancelAsUser, cancelAsApp] : [cancelAsUser]",
        "webhooksEnabled ? [cancelAsUser, cancelAsApp] : [cancelAsUser, cancelAsApp]",
    ),
    Mistake(
        "another Graph permission",
        "the_registration_asks_for_little",
        REGISTRATION,
        "02a5a114-36a6-46ff-a102-954d89d9ab02",
        "7f36b48e-542f-4d3b-9bcb-8406f0ab9fdb",
    ),
    Mistake(
        "another scope", "the_registration_gives_v2_tokens_of_one_tenant", REGISTRATION, "'Appointments.Cancel'", "'user_impersonation'"
    ),
    Mistake(
        "trust in the client id",
        "the_registration_trusts_the_managed_identity_alone",
        REGISTRATION,
        "subject: identityPrincipalId",
        "subject: uniqueName",
    ),
    Mistake(
        "an audience of one cloud",
        "the_registration_trusts_the_managed_identity_alone",
        REGISTRATION,
        "'api://AzureADTokenExchangeUSGov'",
        "'api://AzureADTokenExchange'",
    ),
    # Scale and network
    Mistake(
        "a concurrency that the scale model does not know",
        "scale_is_a_parameter_with_bounds",
        MAIN,
        "param perInstanceConcurrency int = 16",
        "param perInstanceConcurrency int = 100",
    ),
    Mistake("no bound on instances", "scale_is_a_parameter_with_bounds", MAIN, "@minValue(40)\n@maxValue(1000)\n", ""),
    Mistake(
        "a size that there is not", "scale_is_a_parameter_with_bounds", MAIN, "@allowed([512, 2048, 4096])", "@allowed([512, 1024, 4096])"
    ),
    Mistake("bodies of any size", "scale_is_a_parameter_with_bounds", APP, "'1048576'", "'104857600'"),
    Mistake(
        "a concurrency that is nobody's choice",
        "scale_is_a_parameter_with_bounds",
        APP,
        "perInstanceConcurrency: perInstanceConcurrency\n",
        "perInstanceConcurrency: 1\n",
    ),
    Mistake("the table left outside", "the_network_reaches_everything", NETWORK, "    groupId: 'table'\n", "    groupId: 'queue'\n"),
    Mistake(
        "a subnet of another kind",
        "the_network_reaches_everything",
        NETWORK,
        "delegation: 'Microsoft.App/environments'",
        "delegation: 'Microsoft.Web/serverFarms'",
    ),
    # azd
    Mistake("another service name", "azd_finds_its_way", "azure.yaml", "  api:  ", "  web:  "),
    Mistake("another project folder", "azd_finds_its_way", "azure.yaml", "project: . ", "project: ./src "),
    Mistake(
        "a parameter that azd does not know", "the_parameters_file_agrees", "infra/main.parameters.json", '"alertEmail"', '"alertMail"'
    ),
    Mistake(
        "another default",
        "the_parameters_file_agrees",
        "infra/main.parameters.json",
        "ALWAYS_READY_INSTANCES=1",
        "ALWAYS_READY_INSTANCES=10",
    ),
    # Alerts
    Mistake(
        "an alert on a code that is never answered",
        "every_alert_watches_something_real",
        MONITORING,
        'code == "misconfigured"',
        'code == "misconfiguration"',
    ),
    Mistake(
        "an event that nobody watches", "every_alert_watches_something_real", MONITORING, "event=store_unavailable", "event=store_down"
    ),
    Mistake(
        "an alert without a word in the runbook",
        "every_alert_watches_something_real",
        MONITORING,
        "    name: 'slow'\n",
        "    name: 'latency'\n",
    ),
    Mistake(
        "a workbook tied to nothing", "every_alert_watches_something_real", "infra/workbook.json", "<component resource id>", "component"
    ),
    Mistake(
        "a vault without a name where there is none",
        "roles_are_few_and_on_single_resources",
        ROLES,
        "  name: empty(keyVaultName) ? 'no-vault' : keyVaultName\n",
        "  name: keyVaultName\n",
    ),
    Mistake(
        "alerts off",
        "every_alert_watches_something_real",
        MONITORING,
        "      enabled: true\n      autoMitigate",
        "      enabled: false\n      autoMitigate",
    ),
)
