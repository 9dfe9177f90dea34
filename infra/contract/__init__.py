"""The published contract as files.

Owns what is said of each operation and how. Records real answers, writes the documents from them
and from the product's models, and judges whether v1 allows a change. The product does not know it.
"""
