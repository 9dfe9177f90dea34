"""Describe this API: the OpenAPI document, as ``make contract`` wrote it, and health.

Does *not* make any document.
"""
