"""Signing people in at the Entra simulator.

They sign in by authorization code with PKCE, by device code, and again by refresh token. Owns the
pages, what they grant, and the tokens for a grant. Does *not* know the application under test, its
credentials or the on-behalf-of exchange.
"""
