// Everything on: each option that makes or opens something.
using '../main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param partnerClientIds = '11111111-2222-3333-4444-555555555555'
param preauthorizedClientIds = 'fe053c5f-3692-4f14-aef2-ee34fc081cae'
param corsAllowedOrigins = 'https://app.contoso.com'
param connectorEnabled = true
param connectorRedirectUris = 'https://global.consent.azure-apim.net/redirect/contoso-5fcancel'
param serviceManagementReference = '4711'
param appSettings = { REQUEST_DEADLINE_SECONDS: '8' }
param rollingUpdates = true
param networkEnabled = true
param keyVaultEnabled = true
param webhooksEnabled = true
param alertEmail = 'operator@contoso.com'
param monthlyBudget = 100
param budgetStart = '2027-01-01'
