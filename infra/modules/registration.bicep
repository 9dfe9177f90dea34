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

@description('Whether the application permission for webhooks is asked for.')
param webhooksEnabled bool

var scopeName = 'Appointments.Cancel'
var scopeId = guid(uniqueName, scopeName)

// The same in every tenant (Microsoft Graph permissions reference).
var graphAppId = '00000003-0000-0000-c000-000000000000' // Microsoft Graph
var cancelAsUser = { id: '02a5a114-36a6-46ff-a102-954d89d9ab02', type: 'Scope' } // BookingsAppointment.ReadWrite.All, delegated
var cancelAsApp = { id: '0c4b2d20-7919-468d-8668-c54b09d4dee8', type: 'Role' } // Bookings.ReadWrite.All, application

// The audience of the managed identity's token differs by cloud (shared/entra/credentials.py asks for the same).
var tokenExchangeAudience = cloud == 'global' ? 'api://AzureADTokenExchange' : 'api://AzureADTokenExchangeUSGov'

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

var api = {
  requestedAccessTokenVersion: 2
  oauth2PermissionScopes: scopes
  knownClientApplications: partnerClientIds
  preAuthorizedApplications: preauthorized
}

var graphAccess = [
  {
    resourceAppId: graphAppId
    resourceAccess: webhooksEnabled ? [cancelAsUser, cancelAsApp] : [cancelAsUser]
  }
]

resource registration 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  api: api
  requiredResourceAccess: graphAccess
}

// The Application ID URI names the registration's own client id, which is known only once the registration is there, so it is set in a second step.
// The step repeats all the rest, so that it does not matter whether Graph keeps what an update leaves out.
resource identified 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  api: api
  requiredResourceAccess: graphAccess
  identifierUris: ['api://${registration.appId}']
}

resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: identified.appId
}

resource federatedCredential 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = {
  name: '${identified.uniqueName}/function-app'
  description: 'The managed identity of the Function App'
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
  audiences: [tokenExchangeAudience]
}

@description('Client id of the API.')
output clientId string = identified.appId

@description('Application ID URI of the API.')
output applicationIdUri string = 'api://${identified.appId}'

@description('Name of the delegated scope, as the setting REQUIRED_SCOPE has it.')
output scopeName string = scopeName

@description('Object id of the service principal, to which consent is granted.')
output servicePrincipalId string = servicePrincipal.id
