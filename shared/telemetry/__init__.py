"""What the service reports of a request: its log line, its spans, its metrics.

Owns the words and the exporters. Does *not* change what a request does.
"""
