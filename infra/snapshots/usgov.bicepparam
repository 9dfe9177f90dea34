// US Government, with a network and a vault: the addresses that differ. DoD differs in no more.
using '../main.bicep'

param environmentName = 'prod'
param location = 'usgovvirginia'
param cloud = 'usgov'
param networkEnabled = true
param webhooksEnabled = true
