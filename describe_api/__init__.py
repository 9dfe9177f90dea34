"""Describe this API: the published documents, made from the models.

Exports the blueprint that the Function App registers.
"""

from describe_api.triggers import blueprint

__all__ = ["blueprint"]
