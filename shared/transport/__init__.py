"""How a call travels: connections, deadlines, waiting, and how an exchange can end.

Owns the wire. Does *not* know what is sent, to whom, or for whom.
"""
