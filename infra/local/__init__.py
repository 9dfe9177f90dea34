"""The local stack: simulators of Entra ID and Microsoft Graph, and a host for the Function App.

For development and tests only.
"""
