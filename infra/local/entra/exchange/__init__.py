"""What the application under test is given for its credential: tokens on behalf of a person, tokens
of its own, and those of its host's managed identity.

Does *not* sign people in (``sign_in``).
"""
