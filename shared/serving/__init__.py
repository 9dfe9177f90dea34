"""A request in, a reply out.

Owns what all capabilities share on the way in and out: threads, lanes, problems, what is published.
Does *not* know a capability.
"""
