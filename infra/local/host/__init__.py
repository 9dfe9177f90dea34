"""The local Functions host around Microsoft's own worker runtime.

Owns what the Functions host does in Azure. Does *not* know the app that it serves.
"""
