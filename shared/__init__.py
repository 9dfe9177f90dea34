"""What every action of this service needs; it knows no appointment.

Owns identity, token exchange, transport, records, serving and telemetry. Does *not* know what is
asked of a booking business.
"""
