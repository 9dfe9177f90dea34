"""List booking businesses and their appointments, so that a caller can pick what to cancel.

Exports the blueprint that the Function App registers.
"""

from list_bookings.triggers import blueprint

__all__ = ["blueprint"]
