"""The published contract as files: records real answers, writes the documents, and judges whether a
change is one that v1 allows.
"""
