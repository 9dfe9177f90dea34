"""What each capability offers its callers: one module for each folder of the product.

Owns the words of the published documents about operations. Does *not* know any format of them.
"""
