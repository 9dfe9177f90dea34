// Logs, the alerts on them and a workbook. The queries read the lines that shared/telemetry/journal.py and its neighbours write; docs/operations.md says what to do at each alert.

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Name of the Log Analytics workspace.')
param workspaceName string

@description('Name of the Application Insights component.')
param componentName string

@description('Name of the environment, for the titles.')
param environmentName string

@description('Days for which logs are kept.')
param retentionDays int

@description('Gigabytes of logs that are taken in a day.')
param dailyQuotaGb int

@description('Who is mailed when an alert fires; empty for nobody.')
param alertEmail string

// Lines may be sampled; itemCount says for how many one stands. A share is judged from 20 requests on, so that one failure at night wakes nobody.
var requests = loadTextContent('../queries/requests.kql')

var rules = [
  {
    name: 'misconfigured'
    severity: 1
    windowSize: 'PT5M'
    threshold: 0
    description: 'A setting, the credential or its consent is wrong: every request of this kind fails until an operator acts.'
    query: '${requests}| where code == "misconfigured" | summarize value = sum(itemCount)'
  }
  {
    name: 'credential-refused'
    severity: 1
    windowSize: 'PT5M'
    threshold: 0
    description: 'Entra refuses the managed identity as the credential of the API; nobody can be served.'
    query: 'traces | where message has "event=credential_refused" | summarize value = sum(itemCount)'
  }
  {
    name: 'identity-mismatch'
    severity: 1
    windowSize: 'PT5M'
    threshold: 0
    description: 'Entra answered an exchange with a token for another person than the caller. It was thrown away; nobody was served with it.'
    query: 'traces | where message has "event=exchange_identity_mismatch" | summarize value = sum(itemCount)'
  }
  {
    name: 'internal-error'
    severity: 2
    windowSize: 'PT15M'
    threshold: 0
    description: 'A bug: the line names the error and where it struck.'
    query: '${requests}| where code == "internal_error" | summarize value = sum(itemCount)'
  }
  {
    name: 'server-errors'
    severity: 1
    windowSize: 'PT15M'
    threshold: 5
    description: 'More than 5 in 100 answers are 5xx, as the platform counts them: crashes and time-outs of the worker included.'
    query: 'requests | summarize total = sum(itemCount), failed = sumif(itemCount, toint(resultCode) >= 500) | where total >= 20 | project value = 100.0 * failed / total'
  }
  {
    name: 'outcome-unknown'
    severity: 2
    windowSize: 'PT15M'
    threshold: 2
    description: 'More than 2 in 100 cancels end without knowing whether the cancel took effect: Graph does not answer.'
    query: '${requests}| where action == "cancel" | summarize total = sum(itemCount), unknown = sumif(itemCount, code == "outcome_unknown") | where total >= 20 | project value = 100.0 * unknown / total'
  }
  {
    name: 'store-unavailable'
    severity: 2
    windowSize: 'PT15M'
    threshold: 5
    description: 'The records of requests cannot be read or written: cancels go on, but redelivery is no longer recognised.'
    query: 'traces | where message has "event=store_unavailable" | summarize value = sum(itemCount)'
  }
  {
    name: 'overloaded'
    severity: 2
    windowSize: 'PT15M'
    threshold: 10
    description: 'The service turns requests away because it cannot finish them in time.'
    query: '${requests}| where code == "overloaded" | summarize value = sum(itemCount)'
  }
  {
    name: 'throttled'
    severity: 3
    windowSize: 'PT15M'
    threshold: 20
    description: 'Graph or Entra asks for fewer requests than callers send.'
    query: '${requests}| where code == "throttled" | summarize value = sum(itemCount)'
  }
  {
    name: 'slow'
    severity: 3
    windowSize: 'PT15M'
    threshold: 5000
    description: 'The slowest 5 in 100 requests take longer than 5 seconds; a webhook sender gives up at 10.'
    query: '${requests}| summarize total = sum(itemCount), value = percentilew(ms, itemCount, 95) | where total >= 20 | project value'
  }
  {
    name: 'not-found'
    severity: 3
    windowSize: 'PT1H'
    threshold: 30
    description: 'More than 30 in 100 cancels find no appointment: a caller sends the wrong kind of id, or the wrong business.'
    query: '${requests}| where action == "cancel" | summarize total = sum(itemCount), missing = sumif(itemCount, code == "not_found") | where total >= 20 | project value = 100.0 * missing / total'
  }
  {
    name: 'late'
    severity: 3
    windowSize: 'PT1H'
    threshold: 5
    description: 'Work went on after its caller had been answered without it.'
    query: 'traces | where message has "event=late" | summarize value = sum(itemCount)'
  }
  {
    name: 'logs-full'
    severity: 2
    windowSize: 'PT1H'
    threshold: 0
    description: 'The day has no room for more logs: until tomorrow nothing is kept, and no other alert can fire.'
    query: '_LogOperation | where Category =~ "Ingestion" and Detail contains "OverQuota" | summarize value = count()'
    ofWorkspace: true
  }
]

// Both seen together in Azure-Samples/remote-mcp-functions-python, infra/main.bicep.
module workspace 'br/public:avm/res/operational-insights/workspace:0.11.1' = {
  name: 'workspace'
  params: {
    name: workspaceName
    location: location
    tags: tags
    dataRetention: retentionDays
    dailyQuotaGb: dailyQuotaGb
    forceCmkForQuery: false
    features: {
      // Who may read the component sees its workbook, without a role on the workspace.
      enableLogAccessUsingOnlyResourcePermissions: true
    }
    enableTelemetry: false
  }
}

module component 'br/public:avm/res/insights/component:0.6.0' = {
  name: 'component'
  params: {
    name: componentName
    location: location
    tags: tags
    workspaceResourceId: workspace.outputs.resourceId
    disableLocalAuth: true
    disableIpMasking: false
    retentionInDays: retentionDays
    enableTelemetry: false
  }
}

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: 'ag-${componentName}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'bookings'
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [
  for rule in rules: {
    name: 'alert-${rule.name}-${componentName}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Cancel Bookings appointments (${environmentName}): ${rule.name}'
      description: rule.description
      severity: rule.severity
      enabled: true
      autoMitigate: true
      // Each look is billed: what is no emergency is looked at every quarter of an hour.
      evaluationFrequency: rule.severity < 3 ? 'PT5M' : 'PT15M'
      // A component that was made a moment ago does not know its tables yet.
      skipQueryValidation: true
      windowSize: rule.windowSize
      scopes: [contains(rule, 'ofWorkspace') ? workspace.outputs.resourceId : component.outputs.resourceId]
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: 'value'
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(alertEmail) ? [] : [mail.id]
      }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'bookings-cancel-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Cancel Bookings appointments (${environmentName})'
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: component.outputs.resourceId
    serializedData: replace(
      loadTextContent('../workbook.json'),
      '<component resource id>',
      component.outputs.resourceId
    )
  }
}

@description('Name of the Application Insights component.')
output componentName string = component.outputs.name

@description('Resource id of the Log Analytics workspace.')
output workspaceResourceId string = workspace.outputs.resourceId
