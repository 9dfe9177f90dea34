"""The console: a partner's web app in miniature, and the pages that document the API.

Owns its addresses and its pages. Does *not* know more about the service than a partner does.
"""
