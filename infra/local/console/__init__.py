"""The console: a partner's web app in miniature, and the pages that document the API.

Owns its addresses and its pages. Does *not* know more of the service than any partner does.
"""
