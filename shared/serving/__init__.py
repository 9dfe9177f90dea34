"""A request in, a reply out.

Owns what all capabilities share on the way in and out: threads, lanes, problems. Does *not* know
any capability.
"""
