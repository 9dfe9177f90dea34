"""Cancel a Microsoft Bookings appointment, truthfully and once.

Owns the request, the protocol, the records of a cancel and its answers. Does *not* list anything.
"""
