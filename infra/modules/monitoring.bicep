// Logs and metrics, the alerts and a workbook. The alerts read the metrics of shared/telemetry/metrics.py; docs/operations.md says what to do at each.

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

// The rules read metrics, as Azure Monitor's exporter writes them: the table customMetrics, a row for each
// interval, with a metric's attributes in customDimensions (True and False as words). Metrics come from
// the worker itself and are never sampled; lines pass the host, which may drop some.
var problems = 'customMetrics | where name == "facade.problems"'
var events = 'customMetrics | where name == "facade.events"'
var answers = 'customMetrics | where name in ("facade.outcomes", "facade.problems")'
var cancels = '${answers} and tostring(customDimensions.action) in ("cancel", "webhook")'
// A share is judged from 20 requests on, so that one failure at night wakes nobody.
var share = '| where total >= 20 | project value = 100.0 * hit / total'

// As rarely as the severity allows: Azure bills a rule by how often it runs. Each run looks back further than
// the last one, because measurements come minutes late.
var pace = {
  '1': { every: 'PT5M', window: 'PT15M' }
  '2': { every: 'PT15M', window: 'PT30M' }
  '3': { every: 'PT1H', window: 'PT2H' }
}

var rules = [
  {
    name: 'misconfigured'
    severity: 1
    threshold: 0
    description: 'A setting, the credential or its consent is wrong: every request of this kind fails until an operator acts.'
    query: '${problems} and tostring(customDimensions.code) == "misconfigured" | summarize value = sum(valueSum)'
  }
  {
    name: 'credential-refused'
    severity: 1
    threshold: 0
    description: 'Entra refuses the managed identity as the credential of the API; nobody can be served.'
    query: '${events} and tostring(customDimensions.event) == "credential_refused" | summarize value = sum(valueSum)'
  }
  {
    name: 'identity-mismatch'
    severity: 1
    threshold: 0
    description: 'Entra answered an exchange with a token for another person than the caller. It was thrown away; nobody was served with it.'
    query: '${events} and tostring(customDimensions.event) == "exchange_identity_mismatch" | summarize value = sum(valueSum)'
  }
  {
    name: 'server-errors'
    severity: 1
    threshold: 5
    description: 'More than 5 in 100 answers are 5xx. Not counted: a token whose signing key may not be looked for again yet, which a stranger can bring about.'
    query: '${answers} and tostring(customDimensions.cause) != "KeyNotYetKnown" | summarize total = sum(valueSum), hit = sumif(valueSum, toint(tostring(customDimensions.status)) >= 500) ${share}'
  }
  {
    name: 'internal-error'
    severity: 2
    threshold: 0
    description: 'A bug: the line names the error and where it struck.'
    query: '${problems} and tostring(customDimensions.code) == "internal_error" | summarize value = sum(valueSum)'
  }
  {
    name: 'outcome-unknown'
    severity: 2
    threshold: 2
    description: 'More than 2 in 100 cancels end without knowing whether the cancel took effect: Graph does not answer.'
    query: '${cancels} | summarize total = sum(valueSum), hit = sumif(valueSum, tostring(customDimensions.code) == "outcome_unknown") ${share}'
  }
  {
    name: 'store-unavailable'
    severity: 2
    threshold: 5
    description: 'The records of requests cannot be read or written: cancels go on, but redelivery is no longer recognised.'
    query: 'customMetrics | where name == "facade.store.failures" | summarize value = sum(valueSum)'
  }
  {
    name: 'overloaded'
    severity: 2
    threshold: 10
    description: 'The service turns requests away because it cannot finish them in time.'
    query: '${problems} and tostring(customDimensions.code) == "overloaded" | summarize value = sum(valueSum)'
  }
  {
    name: 'throttled'
    severity: 3
    threshold: 50
    description: 'Graph or Entra asks for fewer requests than callers send.'
    query: '${problems} and tostring(customDimensions.code) == "throttled" | summarize value = sum(valueSum)'
  }
  {
    name: 'slow'
    severity: 3
    threshold: 5
    description: 'The slowest 5 in 100 requests take longer than 5 seconds; a webhook sender gives up at 10.'
    query: 'customMetrics | where name == "facade.request.duration" | summarize total = sum(valueCount), hit = sumif(valueCount, tostring(customDimensions.slow) == "True") ${share}'
  }
  {
    name: 'not-found'
    severity: 3
    threshold: 30
    description: 'More than 30 in 100 cancels find no appointment: a caller sends the wrong kind of id, or the wrong business.'
    query: '${cancels} | summarize total = sum(valueSum), hit = sumif(valueSum, tostring(customDimensions.outcome) == "not_found") ${share}'
  }
  {
    name: 'late'
    severity: 3
    threshold: 5
    description: 'Work went on after its caller had been answered without it.'
    query: 'customMetrics | where name == "facade.late" | summarize value = sum(valueSum)'
  }
  {
    name: 'logs-full'
    severity: 2
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
      evaluationFrequency: pace[string(rule.severity)].every
      // A component that was made a moment ago does not know its tables yet.
      skipQueryValidation: true
      windowSize: pace[string(rule.severity)].window
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

// A worker that crashes, does not start or never answers sends no metrics of its own. The host counts the 500
// that a caller then gets, in a metric whose alert is billed by the month and not by the run.
resource crashed 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'alert-crashed-${componentName}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The platform answers 500 in the place of the service: its worker crashes, does not start or does not end.'
    severity: 1
    enabled: true
    autoMitigate: true
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    scopes: [component.outputs.resourceId]
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'answers of 500'
          metricNamespace: 'microsoft.insights/components'
          metricName: 'requests/failed'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 5
          dimensions: [{ name: 'request/resultCode', operator: 'Include', values: ['500'] }]
          // The metric appears with the first such answer.
          skipMetricValidation: true
        }
      ]
    }
    actions: empty(alertEmail) ? [] : [{ actionGroupId: mail.id }]
  }
}

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
