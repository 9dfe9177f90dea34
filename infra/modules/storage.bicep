// One storage account: the deployed package (blob) and the records of requests (table). Its keys are off: everybody needs an Entra token.

@minLength(3)
@maxLength(24)
@description('Name of the storage account.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Redundancy.')
param skuName string

@description('Blob container for the deployed package.')
param deploymentContainerName string

@description('Table for the records of requests.')
param tableName string

@description('Whether the account answers outside of the virtual network; it still asks everybody for an Entra token.')
param reachableFromOutside bool

// Seen in public templates for Flex Consumption at this version, with these parameters; parameters compared with Azure/bicep-registry-modules.
module account 'br/public:avm/res/storage/storage-account:0.31.0' = {
  name: 'storage-account'
  params: {
    name: name
    location: location
    tags: tags
    enableTelemetry: false
    kind: 'StorageV2'
    skuName: skuName
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    supportsHttpsTrafficOnly: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: reachableFromOutside ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: reachableFromOutside ? 'Allow' : 'Deny'
      bypass: 'None'
    }
    blobServices: {
      // The module switches both on, and the second without a number of days.
      deleteRetentionPolicyEnabled: true
      deleteRetentionPolicyDays: 7
      containerDeleteRetentionPolicyEnabled: true
      containerDeleteRetentionPolicyDays: 7
      containers: [
        {
          name: deploymentContainerName
          publicAccess: 'None'
        }
      ]
    }
    tableServices: {
      tables: [
        {
          name: tableName
        }
      ]
    }
  }
}

@description('Name of the account.')
output name string = account.outputs.name

@description('Resource id of the account.')
output resourceId string = account.outputs.resourceId
