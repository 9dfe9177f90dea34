"""What every capability of this service needs.

Owns identity, token exchange, transport, records, serving and telemetry. Does *not* know what a
caller asks of a booking business.
"""
