// The API in Entra ID: the scope that callers ask for, what the service may do in Graph, and the managed identity that proves itself as the registration.
// There is no password and no certificate on it, and nothing here consents to anything: an administrator does (docs/operations.md).

extension microsoftGraphV1

@description('Name by which this deployment finds the registration again; unique in the tenant and never changed.')
param uniqueName string

@description('Name that people see when they are asked for consent.')
param displayName string

@minLength(36)
@maxLength(36)
@description('Object id of the managed identity that the registration trusts.')
param identityPrincipalId string

@allowed(['global', 'usgov', 'dod'])
@description('The Microsoft cloud of the tenant.')
param cloud string

@description('Client ids of applications of this tenant whose consent covers this API too.')
param partnerClientIds string[]

@description('Client ids whose users are not asked for consent to the scope.')
param preauthorizedClientIds string[]

@description('Whether the application permissions for webhooks are asked for.')
param webhooksEnabled bool

@description('Whether the Power Platform connector gets a registration of its own.')
param connectorEnabled bool

@description('Redirect addresses of the connector.')
param connectorRedirectUris string[]

@description('Number of this service in the register of the organisation; empty for none.')
param serviceManagementReference string

@description('Object id of the person or pipeline that deploys. As an owner it may change the registration again with the permission Application.ReadWrite.OwnedBy.')
param deployerObjectId string

var scopeName = 'Appointments.Cancel'
var scopeId = guid(uniqueName, scopeName)

// The same in every tenant (Microsoft Graph permissions reference).
var graphAppId = '00000003-0000-0000-c000-000000000000' // Microsoft Graph
var cancelAsUser = { id: '02a5a114-36a6-46ff-a102-954d89d9ab02', type: 'Scope' } // BookingsAppointment.ReadWrite.All, delegated
// As the application: Graph documents the one for a cancel and the other for a look.
var cancelAsApp = { id: '0c4b2d20-7919-468d-8668-c54b09d4dee8', type: 'Role' } // Bookings.ReadWrite.All, application
var lookAsApp = { id: '9769393e-5a9f-4302-9e3d-7e018ecb64a7', type: 'Role' } // BookingsAppointment.ReadWrite.All, application

// What the managed identity's token says differs by cloud: the audience (the code that asks for the
// token names the same) and the issuer. environment().authentication.loginEndpoint ends in a slash in
// the public cloud and without one in US Government, so a text made from it would match in one alone.
var tokenExchangeAudience = cloud == 'global' ? 'api://AzureADTokenExchange' : 'api://AzureADTokenExchangeUSGov'
#disable-next-line no-hardcoded-env-urls
var loginEndpoint = cloud == 'global' ? 'https://login.microsoftonline.com' : 'https://login.microsoftonline.us'

var scopes = [
  {
    id: scopeId
    value: scopeName
    type: 'User'
    isEnabled: true
    adminConsentDisplayName: 'Cancel Bookings appointments as the user'
    adminConsentDescription: 'Lets the application cancel appointments in those Microsoft Bookings calendars in which the signed-in user may do so.'
    userConsentDisplayName: 'Cancel Bookings appointments for you'
    userConsentDescription: 'Lets the application cancel appointments in those Microsoft Bookings calendars in which you may do so.'
  }
]

var preauthorized = [
  for clientId in preauthorizedClientIds: {
    appId: clientId
    delegatedPermissionIds: [scopeId]
  }
]

var connectorPreauthorized = connectorEnabled ? [{ appId: connector!.appId, delegatedPermissionIds: [scopeId] }] : []

var api = {
  requestedAccessTokenVersion: 2
  oauth2PermissionScopes: scopes
  knownClientApplications: partnerClientIds
}

var owners = {
  relationships: [deployerObjectId]
  relationshipSemantics: 'append'
}
var register = empty(serviceManagementReference) ? null : serviceManagementReference

var graphAccess = [
  {
    resourceAppId: graphAppId
    resourceAccess: webhooksEnabled ? [cancelAsUser, cancelAsApp, lookAsApp] : [cancelAsUser]
  }
]

resource registration 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  serviceManagementReference: register
  owners: owners
  api: api
  requiredResourceAccess: graphAccess
}

// The connector is an application of its own: Entra refuses one that is the same as its API
// (AADSTS90009). Its secret is made by hand, in the portal: none passes through a deployment.
resource connector 'Microsoft.Graph/applications@v1.0' = if (connectorEnabled) {
  uniqueName: '${uniqueName}-connector'
  displayName: '${displayName}: connector'
  signInAudience: 'AzureADMyOrg'
  serviceManagementReference: register
  owners: owners
  web: {
    redirectUris: connectorRedirectUris
  }
  requiredResourceAccess: [
    {
      resourceAppId: registration.appId
      resourceAccess: [{ id: scopeId, type: 'Scope' }]
    }
  ]
}

resource connectorPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = if (connectorEnabled) {
  appId: connector!.appId
  owners: owners
}

// The Application ID URI names the registration's own client id, and the connector's is known only
// once that is there, so both are set in a second step. The step repeats all the rest, so that it
// does not matter whether Graph keeps what an update leaves out; the first leaves out what the second
// adds, so that a deployment takes nothing away for a moment.
resource identified 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  serviceManagementReference: register
  owners: owners
  api: union(api, { preAuthorizedApplications: concat(preauthorized, connectorPreauthorized) })
  requiredResourceAccess: graphAccess
  identifierUris: ['api://${registration.appId}']
}

resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: identified.appId
  owners: owners
}

resource federatedCredential 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = {
  name: '${identified.uniqueName}/function-app'
  description: 'The managed identity of the Function App'
  issuer: '${loginEndpoint}/${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
  audiences: [tokenExchangeAudience]
}

@description('Client id of the API.')
output clientId string = identified.appId

@description('Client id of the connector; empty where it has no registration.')
output connectorClientId string = connectorEnabled ? connector!.appId : ''
