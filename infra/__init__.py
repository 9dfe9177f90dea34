"""Everything around the product: the deployment and the local stack.

The product never imports it.
"""
