"""Cancel a Microsoft Bookings appointment: one capability, one folder.

Exports the blueprint that the Function App registers.
"""

from cancel_appointment.triggers import blueprint

__all__ = ["blueprint"]
