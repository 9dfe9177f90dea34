"""What any Microsoft Graph action of this service needs: identity, exchange, transport, records,
telemetry. Knows no appointment.
"""
