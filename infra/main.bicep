// Everything that `azd up` makes: a Function App without a single secret, its registration in
// Entra ID, its records, its logs and its alerts.
//
// The Azure Verified Modules (br/public:avm/...) are pinned to versions that Microsoft's own samples
// use; a comment says where. Only infra/snapshots/ shows what a module adds by default. After a change
// `make snapshots` writes it again.

targetScope = 'subscription'

// What azd asks for

@minLength(1)
@maxLength(40)
@description('Name of the azd environment; the resource group and the names of all resources are made from it.')
param environmentName string

// Where Flex Consumption is offered, as Microsoft's samples list it in 2026. The government's regions
// are not in those lists: az functionapp list-flexconsumption-locations says what they offer.
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'switzerlandnorth'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
  'usgovarizona'
  'usgovtexas'
  'usgovvirginia'
  'usdodcentral'
  'usdodeast'
])
@metadata({ azd: { type: 'location' } })
@description('Region of all resources: one that offers Flex Consumption.')
param location string

// Who may call

@description('Client ids of the applications of this tenant that may call the service, separated by commas. They are also known clients of the API: one consent covers both.')
param partnerClientIds string = ''

@description('Client ids that may call the service and whose users are never asked for consent to it, separated by commas, e.g. fe053c5f-3692-4f14-aef2-ee34fc081cae (Azure API Connections).')
param preauthorizedClientIds string = ''

@description('Origins of web applications that may call from a browser, separated by commas, each as https://host. A wildcard is refused.')
param corsAllowedOrigins string = ''

@allowed(['global', 'usgov', 'dod'])
@description('The Microsoft cloud of the tenant. The subscription has to be in the same one.')
param cloud string = 'global'

// The registration in Entra ID

@description('Client id of a registration that was made by hand (docs/operations.md). Empty: this template makes one, which Microsoft Graph Bicep does in the public cloud alone.')
param apiClientId string = ''

@description('Makes a second registration, for the Power Platform connector, and lets it call; not beside a registration made by hand.')
param connectorEnabled bool = false

@description('Redirect addresses of the connector, separated by commas; each environment shows its own once the connector is there.')
param connectorRedirectUris string = ''

@description('Number of this service in your own register, for organisations that refuse registrations without one.')
param serviceManagementReference string = ''

// Settings of the service

@description('App settings over those of this template, by name: {"REQUEST_DEADLINE_SECONDS": "8"}. A secret is refused.')
param appSettings object = {}

// How it scales

@minValue(1)
@maxValue(1000)
@description('The most instances that the platform starts on demand. It bounds what the service can cost.')
param maximumInstanceCount int = 10

@allowed([512, 2048, 4096])
@description('Memory of an instance in MB; its share of CPU follows from it.')
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
@description('Requests that the platform sends to one instance at a time before it starts another. Most of a request is waiting for Entra and Graph.')
param perInstanceConcurrency int = 16

@minValue(0)
@maxValue(100)
@description('Instances that are kept running. 0 costs nothing while nobody calls, and the first call then waits for a cold start.')
param alwaysReadyInstances int = 1

@description('Replaces instances one after the other at a deployment, so that no request is cut off. A preview of the platform.')
param rollingUpdates bool = false

// Options

@allowed(['Standard_LRS', 'Standard_ZRS'])
@description('Redundancy of the storage account, which holds the deployed package and the records of requests.')
param storageSku string = 'Standard_LRS'

@description('Puts the Function App into a virtual network and closes the storage account and the key vault to everything outside of it.')
param networkEnabled bool = false

@description('Makes a key vault for the keys of webhook senders.')
param keyVaultEnabled bool = false

@description('Opens the webhook route: reads the secret webhook-keys of the key vault and asks for application permissions that reach every calendar. Write the secret first.')
param webhooksEnabled bool = false

@description('Who is mailed when an alert fires. Empty: the alerts show in the portal alone.')
param alertEmail string = ''

@allowed([30, 60, 90, 120, 180, 270, 365, 550, 730])
@description('Days for which logs are kept: one of the spans that Application Insights knows.')
param logRetentionDays int = 30

@minValue(1)
@maxValue(1000)
@description('Gigabytes of logs that are taken in a day. What comes after is lost until the next day, and an alert says so.')
param logDailyQuotaGb int = 1

@minValue(0)
@description('Budget of the resource group a month, in the currency of the bill; a mail goes to alertEmail at 80 % and when more is forecast. 0: none.')
param monthlyBudget int = 0

@description('First day of the month in which the budget begins, e.g. 2027-01-01. Never changed afterwards.')
param budgetStart string = ''

// Names

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var appName = 'func-cancel-${token}'
var deploymentContainerName = 'app-package'
var tableName = 'idempotency'
var vaultWanted = keyVaultEnabled || webhooksEnabled

// Lists that azd hands over as text

var partners = filter(map(split(partnerClientIds, ','), id => trim(id)), id => !empty(id))
var preauthorized = filter(map(split(preauthorizedClientIds, ','), id => trim(id)), id => !empty(id))
var origins = filter(map(split(corsAllowedOrigins, ','), origin => trim(origin)), origin => !empty(origin))

// An origin is https, has no path, no wildcard and no blank; anything else ends the deployment here.
var refusedOrigins = filter(
  origins,
  origin =>
    !startsWith(origin, 'https://') || contains(origin, '*') || contains(origin, ' ') || length(split(origin, '/')) != 3 || origin == 'https://'
)
var checkedOrigins = empty(refusedOrigins)
  ? origins
  : fail('corsAllowedOrigins must be origins such as https://app.contoso.com; refused: ${join(refusedOrigins, ' ')}')

// Nobody is mailed, and Azure refuses a budget without its first month, half way through: better here.
var checkedBudget = monthlyBudget == 0 || (!empty(alertEmail) && endsWith(budgetStart, '-01'))
  ? monthlyBudget
  : fail('A monthly budget wants ALERT_EMAIL and BUDGET_START, the first day of a month such as 2027-01-01.')

// A secret would stand in the clear in the parameters, in the deployment's history and in a laptop's
// .azure folder. A reference into a key vault is none. The words are those of the service's secrets.
var secretWords = ['SECRET', 'PASSWORD', 'CONNECTION_STRING', 'WEBHOOK_KEYS', 'HEADERS']
var refusedSettings = filter(
  items(appSettings),
  setting =>
    !startsWith(string(setting.value), '@Microsoft.KeyVault(') && !empty(filter(
      secretWords,
      word => contains(toUpper(setting.key), word)
    ))
)
var checkedSettings = empty(refusedSettings)
  ? mapValues(appSettings, value => string(value))
  : fail('appSettings must not hold secrets: ${join(map(refusedSettings, setting => setting.key), ', ')}. The managed identity needs none; webhook keys belong into the key vault.')

var registrationWanted = empty(apiClientId)
var connectorWanted = connectorEnabled && registrationWanted

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

// Seen in Azure-Samples/remote-mcp-functions-python, infra/main.bicep.
module identity 'br/public:avm/res/managed-identity/user-assigned-identity:0.4.1' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-cancel-${token}'
    location: location
    tags: tags
    enableTelemetry: false
  }
}

module registration 'modules/registration.bicep' = if (registrationWanted) {
  name: 'registration'
  scope: group
  params: {
    uniqueName: 'bookings-cancel-${token}'
    displayName: 'Cancel Bookings appointments (${environmentName})'
    identityPrincipalId: identity.outputs.principalId
    cloud: cloud
    partnerClientIds: partners
    preauthorizedClientIds: preauthorized
    webhooksEnabled: webhooksEnabled
    connectorEnabled: connectorEnabled
    connectorRedirectUris: filter(map(split(connectorRedirectUris, ','), uri => trim(uri)), uri => !empty(uri))
    serviceManagementReference: serviceManagementReference
    deployerObjectId: deployer().objectId
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: 'log-cancel-${token}'
    componentName: 'appi-cancel-${token}'
    environmentName: environmentName
    retentionDays: logRetentionDays
    dailyQuotaGb: logDailyQuotaGb
    alertEmail: alertEmail
  }
}

module budget 'modules/budget.bicep' = if (checkedBudget > 0) {
  name: 'budget'
  scope: group
  params: {
    amount: checkedBudget
    startDate: budgetStart
    contactEmail: alertEmail
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'stcancel${token}'
    location: location
    tags: tags
    skuName: storageSku
    deploymentContainerName: deploymentContainerName
    tableName: tableName
    reachableFromOutside: !networkEnabled
  }
}

module vault 'modules/vault.bicep' = if (vaultWanted) {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-cancel-${token}'
    location: location
    tags: tags
    reachableFromOutside: !networkEnabled
    workspaceResourceId: monitoring.outputs.workspaceResourceId
  }
}

module network 'modules/network.bicep' = if (networkEnabled) {
  name: 'network'
  scope: group
  params: {
    name: 'cancel-${token}'
    location: location
    tags: tags
    storageAccountResourceId: storage.outputs.resourceId
    keyVaultResourceId: vaultWanted ? vault!.outputs.resourceId : ''
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageAccountName: storage.outputs.name
    componentName: monitoring.outputs.componentName
    keyVaultName: vaultWanted ? vault!.outputs.name : ''
  }
}

var clientId = registrationWanted ? registration!.outputs.clientId : apiClientId
var connectorClientId = connectorWanted ? registration!.outputs.connectorClientId : ''
// An empty list would let every application of the tenant call. Until a client is named, the list
// holds only the API itself, which never calls.
var named = union(partners, preauthorized)
var callers = empty(named) && !connectorWanted ? [clientId] : concat(named, connectorWanted ? [connectorClientId] : [])

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  dependsOn: [roles]
  params: {
    name: appName
    planName: 'plan-cancel-${token}'
    location: location
    tags: tags
    identityResourceId: identity.outputs.resourceId
    identityClientId: identity.outputs.clientId
    apiClientId: clientId
    allowedClientIds: callers
    appSettings: checkedSettings
    cloud: cloud
    corsAllowedOrigins: checkedOrigins
    storageAccountName: storage.outputs.name
    deploymentContainerName: deploymentContainerName
    tableName: tableName
    componentName: monitoring.outputs.componentName
    keyVaultName: vaultWanted ? vault!.outputs.name : ''
    webhooksEnabled: webhooksEnabled
    subnetResourceId: networkEnabled ? network!.outputs.appSubnetResourceId : ''
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
    perInstanceConcurrency: perInstanceConcurrency
    alwaysReadyInstances: alwaysReadyInstances
    rollingUpdates: rollingUpdates
  }
}

// What azd and an operator need; none of it is secret.

@description('Region of the deployment.')
output AZURE_LOCATION string = location

@description('Directory in which the API is registered.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('Resource group of the deployment.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the Function App.')
output SERVICE_API_NAME string = app.outputs.name

@description('Address of the service, without a path.')
output SERVICE_API_URI string = app.outputs.uri

@description('Client id of the API: its registration in Entra ID.')
output API_CLIENT_ID string = clientId

@description('Application ID URI of the API: the resource of a Power Platform connection.')
output API_APPLICATION_ID_URI string = 'api://${clientId}'

@description('The delegated scope that callers ask for.')
output API_SCOPE string = 'api://${clientId}/Appointments.Cancel'

@description('Client id of the connector of the Power Platform; empty where the template makes none.')
output CONNECTOR_CLIENT_ID string = connectorClientId

@description('Name of the user-assigned managed identity as which the service runs.')
output IDENTITY_NAME string = identity.outputs.name

@description('Object id of that identity: the subject of the federated credential and the holder of the roles.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Name of the storage account.')
output STORAGE_ACCOUNT_NAME string = storage.outputs.name

@description('Name of the Application Insights component.')
output APPLICATION_INSIGHTS_NAME string = monitoring.outputs.componentName

@description('Name of the key vault; empty where there is none.')
output KEY_VAULT_NAME string = vaultWanted ? vault!.outputs.name : ''
