"""How long the callers of a route wait at most, where that may be less than
REQUEST_DEADLINE_SECONDS. Its own file: routes are declared with it.
"""

WEBHOOK_WITHIN_S = 8.0  # senders give up after ten seconds or more
