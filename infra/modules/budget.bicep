// A budget for the resource group. It reports what is spent, and stops nothing: nothing in Azure does.

@description('Amount a month, in the currency of the bill.')
param amount int

@description('First day of the month in which it begins; Azure does not let it change.')
param startDate string

@description('Who is mailed.')
param contactEmail string

resource budget 'Microsoft.Consumption/budgets@2023-11-01' = {
  name: 'bookings-cancel'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: startDate
    }
    notifications: {
      spent: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [contactEmail]
      }
      forecast: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [contactEmail]
      }
    }
  }
}
