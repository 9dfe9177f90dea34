// The Function App on Flex Consumption. Plain resources, because an Azure Verified Module keeps app settings that the template no longer has,
// and here a setting that is not listed is gone after the next deployment.

@description('Name of the Function App.')
param name string

@description('Name of its plan.')
param planName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the managed identity as which the app runs.')
param identityResourceId string

@description('Client id of that identity.')
param identityClientId string

@description('Client id of the API: its registration in Entra ID.')
param apiClientId string

@minLength(1)
@description('Client ids of the applications that may call.')
param allowedClientIds string[]

@allowed(['global', 'usgov', 'dod'])
@description('The Microsoft cloud of the tenant.')
param cloud string

@description('App settings over those below, by name; checked in main.bicep.')
param appSettings object

@description('Origins that browsers may call from; checked in main.bicep.')
param corsAllowedOrigins string[]

@description('Storage account of the package and the records.')
param storageAccountName string

@description('Blob container of the deployed package.')
param deploymentContainerName string

@description('Table of the records of requests.')
param tableName string

@description('Application Insights component.')
param componentName string

@description('Key vault of the webhook keys; empty where there is none.')
param keyVaultName string

@description('Whether the webhook keys are read.')
param webhooksEnabled bool

@description('Resource id of the subnet for outgoing traffic; empty for none.')
param subnetResourceId string

@description('The most instances.')
param maximumInstanceCount int

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Requests that one instance is sent at a time.')
param perInstanceConcurrency int

@description('Instances that are kept running.')
param alwaysReadyInstances int

@description('Whether instances are replaced one after the other at a deployment.')
param rollingUpdates bool

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

// What shared/settings.py reads. No secret is among them.
var serviceSettings = {
  TENANT_ID: tenant().tenantId
  CLIENT_ID: apiClientId
  MANAGED_IDENTITY_CLIENT_ID: identityClientId
  CLOUD: cloud
  ALLOWED_CLIENT_IDS: join(allowedClientIds, ',')
  // The service's threads: twice what the platform aims at, because it may send more for a moment.
  MAX_CONCURRENCY: string(min(perInstanceConcurrency * 2, 1000))
  IDEMPOTENCY_STORE: 'table'
  IDEMPOTENCY_TABLE_ENDPOINT: storage.properties.primaryEndpoints.table
  IDEMPOTENCY_TABLE_NAME: tableName
  TELEMETRY: 'azure_monitor'
}

// What the platform reads.
var platformSettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  APPLICATIONINSIGHTS_CONNECTION_STRING: component.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  // Microsoft's exporter neither reports on itself nor asks for remote configuration.
  APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'
  APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED: 'true'
  // The host keeps every request and every line: its exporter would keep 5 traces a second, and drop the lines of the others. These values are for the host; the service itself samples the spans beneath (shared/telemetry/exporters.py).
  OTEL_TRACES_SAMPLER: 'microsoft.fixed_percentage'
  OTEL_TRACES_SAMPLER_ARG: '1'
  // Bytes. The service refuses from 64 KiB with an answer of its own contract; what is far larger never reaches it.
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '1048576'
  // There are no plug-ins: pydantic need not look through every installed package for them when a worker starts (3 % of it).
  PYDANTIC_DISABLE_PLUGINS: '__all__'
  // Read by the C library when the worker's process starts. Its cache of freed memory for each thread is of no use to a hundred threads that wait, and fills for hours.
  GLIBC_TUNABLES: 'glibc.malloc.tcache_count=0'
}

// Read by the platform from the vault as the managed identity; the setting holds the reference, never the keys.
var webhookSettings = {
  WEBHOOK_KEYS: '@Microsoft.KeyVault(SecretUri=https://${keyVaultName}${environment().suffixes.keyvaultDns}/secrets/webhook-keys/)'
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityResourceId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityResourceId
    virtualNetworkSubnetId: empty(subnetResourceId) ? null : subnetResourceId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${deploymentContainerName}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityResourceId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      // The platform has it (a preview), the compiler's types do not.
      #disable-next-line BCP037
      siteUpdateStrategy: {
        type: rollingUpdates ? 'RollingUpdate' : 'Recreate'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReadyInstances == 0 ? [] : [{ name: 'http', instanceCount: alwaysReadyInstances }]
        triggers: {
          http: {
            perInstanceConcurrency: perInstanceConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      cors: {
        allowedOrigins: corsAllowedOrigins
        supportCredentials: false
      }
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(serviceSettings, platformSettings, webhooksEnabled ? webhookSettings : {}, appSettings)
}

// Publishing with a user name and a password is off; azd and pipelines publish with an Entra token.
resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

@description('Name of the Function App.')
output name string = app.name

@description('Address of the service, without a path.')
output uri string = 'https://${app.properties.defaultHostName}'
