"""What the application under test gets for its credential.

Owns tokens on behalf of a person, tokens of the application itself, and those of its host's managed
identity. Does *not* sign people in (``sign_in``).
"""
