// Everything that `azd up` makes: a Function App without a single secret, its registration in Entra ID, its records, its logs and its alerts.
//
// The Azure Verified Modules (br/public:avm/...) are pinned to versions that Microsoft's own samples use; each is named with where it was seen.
// The Function App, its plan, the roles and the alerts are plain resources: every property of them that matters stands in these files.

targetScope = 'subscription'

// What azd asks for

@minLength(1)
@maxLength(40)
@description('Name of the azd environment; the resource group and the names of all resources are made from it.')
param environmentName string

@minLength(1)
@metadata({ azd: { type: 'location' } })
@description('Region of all resources. It must offer Flex Consumption: az functionapp list-flexconsumption-locations.')
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

// How it scales

@minValue(40)
@maxValue(1000)
@description('The most instances that may run at once. It bounds what the service can cost.')
param maximumInstanceCount int = 40

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

// Options

@allowed(['Standard_LRS', 'Standard_ZRS'])
@description('Redundancy of the storage account, which holds the deployed package and the records of requests.')
param storageSku string = 'Standard_LRS'

@description('Puts the Function App into a virtual network and closes the storage account and the key vault to everything outside of it.')
param networkEnabled bool = false

@description('Makes a key vault for the keys of webhook senders.')
param keyVaultEnabled bool = false

@description('Opens the webhook route: reads the secret webhook-keys of the key vault and asks for the application permission Bookings.ReadWrite.All. Write the secret first.')
param webhooksEnabled bool = false

@description('Who is mailed when an alert fires. Empty: the alerts show in the portal alone.')
param alertEmail string = ''

@minValue(30)
@maxValue(730)
@description('Days for which logs are kept.')
param logRetentionDays int = 30

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
  origin => !startsWith(origin, 'https://') || contains(origin, '*') || contains(origin, ' ') || length(split(origin, '/')) != 3 || origin == 'https://'
)
var checkedOrigins = empty(refusedOrigins) ? origins : fail('corsAllowedOrigins must be origins such as https://app.contoso.com; refused: ${join(refusedOrigins, ' ')}')

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
  }
}

module registration 'modules/registration.bicep' = {
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
    alertEmail: alertEmail
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
    apiClientId: registration.outputs.clientId
    allowedClientIds: union(partners, preauthorized)
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
output API_CLIENT_ID string = registration.outputs.clientId

@description('Application ID URI of the API: the resource of a Power Platform connection.')
output API_APPLICATION_ID_URI string = registration.outputs.applicationIdUri

@description('The delegated scope that callers ask for.')
output API_SCOPE string = '${registration.outputs.applicationIdUri}/${registration.outputs.scopeName}'

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
