"""The simulator of Microsoft Graph's Bookings API.

Owns the calendars and Graph's words. Does *not* sign tokens.
"""
