"""The storage account that has the table: where it is, and how a request shows who sends it.

Owns the reading of a connection string, and the signature with an account's key. Tokens and shared
access signatures are azure-core's own policies. Does *not* send anything (``wire.py``).
"""

import base64
import hmac
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AzureSasCredential, TokenCredential
from azure.core.pipeline import PipelineRequest, policies
from azure.core.utils import parse_connection_string

_SCOPE = "https://storage.azure.com/.default"


class SharedKey(policies.SansIOHTTPPolicy[Any, Any]):
    """Signs each request with the key of the account.

    It is the scheme "Shared Key" of the Table service: verb, MD5 (none), type, date and path.
    Errors: ValueError where ``key`` is not Base64.
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key, validate=True)

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Add the signature; ``x-ms-date`` is there already."""
        sent = request.http_request
        kind, date = sent.headers.get("Content-Type", ""), sent.headers["x-ms-date"]
        signed = f"{sent.method}\n\n{kind}\n{date}\n/{self._account}{urlsplit(sent.url).path}"
        proof = base64.b64encode(hmac.digest(self._key, signed.encode(), "sha256")).decode()
        sent.headers["Authorization"] = f"SharedKey {self._account}:{proof}"


@dataclass(frozen=True, slots=True)
class Account:
    """The address of the account's tables, without a slash at its end, and the proof to send."""

    endpoint: str
    proof: Any = field(repr=False)

    @classmethod
    def of(cls, credential: TokenCredential, endpoint: str) -> "Account":
        """Use an account with tokens, over https only.

        They need the role Storage Table Data Contributor. Errors: ValueError.
        """
        if not endpoint.lower().startswith("https://"):
            raise ValueError("a token is sent over HTTPS only")
        proof = policies.BearerTokenCredentialPolicy(credential, _SCOPE)
        return cls(endpoint.rstrip("/"), proof)

    @classmethod
    def from_connection_string(cls, text: str) -> "Account":
        """Use an account by its key, or by a shared access signature.

        Errors: ValueError where the string is not one.
        """
        said = parse_connection_string(text)
        name, key = said.get("accountname"), said.get("accountkey")
        endpoint, signature = said.get("tableendpoint"), said.get("sharedaccesssignature")
        if endpoint is None and name is not None:
            scheme = said.get("defaultendpointsprotocol", "https")
            endpoint = f"{scheme}://{name}.table.{said.get('endpointsuffix', 'core.windows.net')}"
        if endpoint is None or not endpoint.lower().startswith(("http://", "https://")):
            raise ValueError("the connection string names no account")
        if name is not None and key is not None:
            return cls(endpoint.rstrip("/"), SharedKey(name, key))
        if signature is None:
            raise ValueError("the connection string holds neither key nor signature")
        proof = policies.AzureSasCredentialPolicy(AzureSasCredential(signature))
        return cls(endpoint.rstrip("/"), proof)
