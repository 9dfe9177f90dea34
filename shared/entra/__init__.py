"""What this service asks of Microsoft Entra ID: its own credential, and tokens for Microsoft Graph.

Owns the token exchange and what its refusals mean. Does *not* validate the tokens of callers.
"""
