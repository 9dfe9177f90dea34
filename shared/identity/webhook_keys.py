"""The setting WEBHOOK_KEYS: who may send webhooks, with which secrets, for which businesses.

Owns the form of the setting and the sentences about its faults. A sentence names an entry by its
place and never repeats what it holds: an id in the wrong place may be a secret. Does *not* verify
anything.
"""

import base64
import binascii
import json
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from shared.ids import BusinessId
from shared.strict_json import refuse_constant

_PREFIX = "whsec_"
# The Standard Webhooks specification asks for these sizes of a symmetric secret.
_LEAST_BYTES, _MOST_BYTES = 24, 64
# Every request, even a stranger's, costs a digest for each secret.
_MOST_KEYS, _MOST_SECRETS, _MOST_BUSINESSES = 20, 3, 200


def secret_bytes(secret: SecretStr) -> bytes:
    """Return the key of the HMAC.

    Errors: ValueError for anything but ``whsec_`` and base64 of 24 to 64 bytes; its text does not
    repeat the secret.
    """
    text = secret.get_secret_value()
    encoded = text.removeprefix(_PREFIX)
    try:
        raw = (
            base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
            if encoded != text
            else b""
        )
    except (binascii.Error, ValueError):
        raw = b""
    if not _LEAST_BYTES <= len(raw) <= _MOST_BYTES:
        raise ValueError(
            f"must be {_PREFIX} followed by the base64 of {_LEAST_BYTES} to {_MOST_BYTES} "
            "random bytes"
        )
    return raw


def _secret(value: SecretStr) -> SecretStr:
    secret_bytes(value)
    return value


def _business(value: str) -> str:
    if "*" in value:
        raise ValueError("must name one booking business; there is no wildcard")
    return value


class WebhookKey(BaseModel):
    """One sender.

    Every secret of the list is accepted. So a new secret can stand beside the old one before the
    sender changes over.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    secrets: Annotated[
        list[Annotated[SecretStr, AfterValidator(_secret)]],
        Field(min_length=1, max_length=_MOST_SECRETS),
    ]
    businesses: Annotated[
        list[Annotated[BusinessId, AfterValidator(_business)]],
        Field(min_length=1, max_length=_MOST_BUSINESSES),
    ]


@cache
def _list() -> TypeAdapter[list[WebhookKey]]:
    # Built only if the setting is set.
    return TypeAdapter(Annotated[list[WebhookKey], Field(min_length=1, max_length=_MOST_KEYS)])


def parse_webhook_keys(value: object) -> object:
    """Read the setting's text.

    Errors: ValueError that says what is wrong and where, and does not repeat the value.
    """
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value, object_pairs_hook=_unique, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise ValueError(
            'must be JSON, e.g. [{"id": "...", "secrets": ["whsec_..."], "businesses": ["..."]}]'
        ) from None
    try:
        keys = _list().validate_python(parsed)
    except ValidationError as error:
        raise ValueError(_fault(error)) from None
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("has two entries with the same id")
    digests = [secret_bytes(secret) for key in keys for secret in key.secrets]
    if len(set(digests)) < len(digests):  # nobody could say which of the two sends
        raise ValueError("has the same secret twice")
    return tuple(keys)


def _fault(error: ValidationError) -> str:
    """Describe the first fault, and name its entry and member by their place."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = first["loc"]
    if not place:
        return f"must be a list of 1 to {_MOST_KEYS} entries"
    entry = f"has an entry, number {int(place[0]) + 1}, "
    if len(place) == 1:
        return f"{entry}that is no object"
    if place[1] not in WebhookKey.model_fields:
        return f"{entry}with a member that does not exist"
    if first["type"] == "missing":
        return f"{entry}without {place[1]}"
    reason = str(first["msg"]).removeprefix("Value error, ")
    where = f"{place[1]}, number {int(place[2]) + 1}," if len(place) > 2 else str(place[1])
    return f"{entry}whose {where} is not usable: {reason[:1].lower()}{reason[1:]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members
