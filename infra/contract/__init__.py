"""The published contract as files.

Records real answers, writes the documents, and judges whether v1 allows a change.
"""
