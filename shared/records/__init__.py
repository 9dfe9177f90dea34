"""What was done before: records of requests, and the stores that keep them.

Owns the rules of a record. Does *not* know what a request or an outcome is.
"""
