// A key vault for the keys of webhook senders. The template writes no secret into it: a person does, so that none passes through a deployment.
// The service's own credential needs no vault: the managed identity takes the place of a certificate.

@minLength(3)
@maxLength(24)
@description('Name of the key vault.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Whether the vault answers outside of the virtual network; it still asks everybody for an Entra token and a role.')
param reachableFromOutside bool

@description('Log Analytics workspace of the audit log.')
param workspaceResourceId string

// Seen in Yvand/azd-functions-azure-vms-management and others at this version, with these parameters.
module vault 'br/public:avm/res/key-vault/vault:0.13.3' = {
  name: 'key-vault'
  params: {
    name: name
    location: location
    tags: tags
    enableTelemetry: false
    sku: 'standard'
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    enableVaultForDeployment: false
    enableVaultForDiskEncryption: false
    enableVaultForTemplateDeployment: false
    // Who read and who wrote.
    diagnosticSettings: [
      {
        name: 'audit'
        workspaceResourceId: workspaceResourceId
        logCategoriesAndGroups: [{ categoryGroup: 'audit' }]
        metricCategories: []
      }
    ]
    publicNetworkAccess: reachableFromOutside ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: reachableFromOutside ? 'Allow' : 'Deny'
      bypass: 'None'
    }
  }
}

@description('Name of the vault.')
output name string = vault.outputs.name

@description('Resource id of the vault.')
output resourceId string = vault.outputs.resourceId
