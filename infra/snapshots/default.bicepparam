// What `azd up` makes where nothing was chosen.
using '../main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
