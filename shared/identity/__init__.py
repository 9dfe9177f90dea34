"""Who asks: bearer tokens, signing keys, and signed webhooks.

Owns the proof of a caller. Does *not* get tokens, and does not decide what a caller may do in a
booking business.
"""
