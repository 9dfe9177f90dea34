"""The published contract as files.

Owns the words about each operation, and the formats. Records real answers, writes the documents
from them and from the product's models, and judges whether v1 allows a change. The product does not
know it.
"""
