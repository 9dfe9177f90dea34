"""List booking businesses and their appointments, so that a caller can pick what to cancel.

Owns what may be asked and what is shown. Does *not* change anything.
"""
