"""The simulator of Microsoft Entra ID.

Owns what Entra says and signs. Does *not* know Microsoft Graph.
"""
