// The optional virtual network: the Function App goes out through it, and the storage account and the key vault answer inside of it alone.

@description('What the names of the resources end in.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the storage account.')
param storageAccountResourceId string

@description('Resource id of the key vault; empty where there is none.')
param keyVaultResourceId string

var appSubnetName = 'app'
var endpointSubnetName = 'private-endpoints'

// What is reached through a private endpoint, and the DNS zone in which it is found.
var storageLinks = [
  {
    groupId: 'blob'
    resourceId: storageAccountResourceId
    zone: 'privatelink.blob.${environment().suffixes.storage}'
  }
  {
    groupId: 'table'
    resourceId: storageAccountResourceId
    zone: 'privatelink.table.${environment().suffixes.storage}'
  }
]
var vaultLinks = [
  {
    groupId: 'vault'
    resourceId: keyVaultResourceId
    zone: 'privatelink${replace(environment().suffixes.keyvaultDns, 'vault', 'vaultcore')}'
  }
]
var links = empty(keyVaultResourceId) ? storageLinks : concat(storageLinks, vaultLinks)

// The way out to Entra, Graph and Application Insights: new virtual networks have none of their own.
resource outboundAddress 'Microsoft.Network/publicIPAddresses@2023-11-01' = {
  name: 'pip-${name}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource outboundGateway 'Microsoft.Network/natGateways@2023-11-01' = {
  name: 'ng-${name}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    idleTimeoutInMinutes: 4
    publicIpAddresses: [
      {
        id: outboundAddress.id
      }
    ]
  }
}

// Seen in Azure-Samples/functions-quickstart-javascript-azd, infra/app/vnet.bicep. Flex Consumption wants its subnet delegated to Microsoft.App/environments.
module network 'br/public:avm/res/network/virtual-network:0.6.1' = {
  name: 'virtual-network'
  params: {
    name: 'vnet-${name}'
    location: location
    tags: tags
    enableTelemetry: false
    addressPrefixes: ['10.0.0.0/16']
    subnets: [
      {
        name: endpointSubnetName
        addressPrefix: '10.0.1.0/24'
        privateEndpointNetworkPolicies: 'Disabled'
        defaultOutboundAccess: false
      }
      {
        name: appSubnetName
        addressPrefix: '10.0.2.0/24'
        delegation: 'Microsoft.App/environments'
        natGatewayResourceId: outboundGateway.id
        defaultOutboundAccess: false
      }
    ]
  }
}

// Both seen together in Azure-Samples, infra/app/storage-PrivateEndpoint.bicep, at these versions.
module zones 'br/public:avm/res/network/private-dns-zone:0.7.1' = [
  for link in links: {
    name: 'zone-${link.groupId}'
    params: {
      name: link.zone
      location: 'global'
      tags: tags
      enableTelemetry: false
      virtualNetworkLinks: [
        {
          name: 'link-${name}'
          virtualNetworkResourceId: network.outputs.resourceId
          registrationEnabled: false
        }
      ]
    }
  }
]

module endpoints 'br/public:avm/res/network/private-endpoint:0.11.0' = [
  for (link, index) in links: {
    name: 'endpoint-${link.groupId}'
    params: {
      name: 'pe-${link.groupId}-${name}'
      location: location
      tags: tags
      enableTelemetry: false
      subnetResourceId: '${network.outputs.resourceId}/subnets/${endpointSubnetName}'
      privateLinkServiceConnections: [
        {
          name: link.groupId
          properties: {
            privateLinkServiceId: link.resourceId
            groupIds: [link.groupId]
          }
        }
      ]
      privateDnsZoneGroup: {
        name: 'default'
        privateDnsZoneGroupConfigs: [
          {
            name: link.groupId
            privateDnsZoneResourceId: zones[index].outputs.resourceId
          }
        ]
      }
    }
  }
]

@description('Resource id of the subnet into which the Function App is integrated.')
output appSubnetResourceId string = '${network.outputs.resourceId}/subnets/${appSubnetName}'
