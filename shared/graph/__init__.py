"""The client of Microsoft Graph.

Owns what goes out and what an answer means. Does *not* know appointments.
"""
