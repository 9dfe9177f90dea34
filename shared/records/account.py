"""The storage account that has the table: where it is, and how a request shows who sends it.

Owns the reading of a connection string, and what goes with each request: the signature with the
account's key, a shared access signature, or a token. Does *not* send anything (``table_calls.py``).
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

# "UseDevelopmentStorage=true" means this one: Microsoft publishes the emulator's key.
_EMULATOR = (
    "AccountName=devstoreaccount1;TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

# Given a method, a target and headers with the date, adds to the headers and returns the target.
type Prove = Callable[[str, str, dict[str, str]], str]


@dataclass(frozen=True, slots=True)
class Account:
    """The address of the account's tables, without a slash at its end, and the proof to send.

    ``prepare`` gets what proofs are made of; it may wait and raise, and need not be called.
    """

    endpoint: str
    prove: Prove = field(repr=False)
    prepare: Callable[[], object] = field(default=lambda: None, repr=False)


def by_token(endpoint: str, token: Callable[[], str]) -> Account:
    """Use an account with tokens for Azure Storage.

    They need the role Storage Table Data Contributor. Errors: ValueError.
    """
    if not endpoint.lower().startswith("https://"):
        raise ValueError("a token is sent over HTTPS only")

    def prove(_method: str, target: str, headers: dict[str, str]) -> str:
        headers["Authorization"] = f"Bearer {token()}"
        return target

    return Account(endpoint.rstrip("/"), prove, prepare=token)


def by_connection_string(text: str) -> Account:
    """Use an account by its key, or by a shared access signature.

    Errors: ValueError where the string is not one.
    """
    pairs = [pair.split("=", 1) for pair in text.strip().rstrip(";").split(";")]
    said = {name.lower(): value for name, value in pairs}
    if said.get("usedevelopmentstorage", "").lower() == "true":
        return by_connection_string(_EMULATOR)
    endpoint, account = said.get("tableendpoint"), said.get("accountname")
    key, signature = said.get("accountkey"), said.get("sharedaccesssignature")
    if not endpoint and account:
        scheme = said.get("defaultendpointsprotocol", "https")
        endpoint = f"{scheme}://{account}.table.{said.get('endpointsuffix', 'core.windows.net')}"
    if endpoint and "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    if not endpoint or not endpoint.lower().startswith(("http://", "https://")):
        raise ValueError("the connection string names no account")
    if account and key:
        prove = _with_key(account, base64.b64decode(key, validate=True))
    elif signature:
        prove = _with_signature(signature.lstrip("?"))
    else:
        raise ValueError("the connection string holds neither key nor signature")
    return Account(endpoint.rstrip("/"), prove)


def _with_key(name: str, key: bytes) -> Prove:
    """Sign as "Shared Key" of the Table service: verb, MD5 (none), type, date and path."""

    def prove(method: str, target: str, headers: dict[str, str]) -> str:
        kind, date = headers.get("Content-Type", ""), headers["x-ms-date"]
        signed = f"{method}\n\n{kind}\n{date}\n/{name}{target.partition('?')[0]}"
        proof = base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()
        headers["Authorization"] = f"SharedKey {name}:{proof}"
        return target

    return prove


def _with_signature(signature: str) -> Prove:
    def prove(_method: str, target: str, _headers: dict[str, str]) -> str:
        return f"{target}{'&' if '?' in target else '?'}{signature}"

    return prove
