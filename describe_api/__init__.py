"""Describe this API: the OpenAPI document, as ``make contract`` wrote it, and health.

Exports the blueprint that the Function App registers. Does *not* make any document.
"""

from describe_api.triggers import blueprint

__all__ = ["blueprint"]
