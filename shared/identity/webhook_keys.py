"""The setting WEBHOOK_KEYS: who may send webhooks, with which secrets, for which businesses.

Owns the form of the setting and the sentences about its faults. A sentence names an entry by its
place and never repeats what it holds: an id in the wrong place may be a secret. Does *not* verify
anything.
"""

import base64
from contextlib import suppress
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    TypeAdapter,
    ValidationError,
)

from shared.ids import BusinessId
from shared.strict_json import read_json

_PREFIX = "whsec_"
# The Standard Webhooks specification asks for 24 to 64 bytes. Svix gives up to 75 (EndpointSecret
# of its server), and whoever is given such a secret cannot make it shorter.
_LEAST_BYTES, _MOST_BYTES = 24, 75
# Every request, even a stranger's, costs a digest for each secret.
_MOST_KEYS, _MOST_SECRETS, _MOST_BUSINESSES = 20, 3, 200


def _secret(value: object) -> bytes:
    """Return the key of the HMAC.

    Errors: ValueError for anything but ``whsec_`` and base64 of 24 to 75 bytes; its text does not
    repeat the secret.
    """
    raw = b""
    if isinstance(value, str) and value.startswith(_PREFIX):
        encoded = value.removeprefix(_PREFIX)
        with suppress(ValueError):  # said below
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if not _LEAST_BYTES <= len(raw) <= _MOST_BYTES:
        raise ValueError(
            f"must be {_PREFIX} followed by the base64 of {_LEAST_BYTES} to {_MOST_BYTES} "
            "random bytes"
        )
    return raw


def _business(value: str) -> str:
    if "*" in value:
        raise ValueError("must name one booking business; there is no wildcard")
    return value


class WebhookKey(BaseModel):
    """One sender.

    Every secret of the list is accepted. So a new secret can stand beside the old one before the
    sender changes over. They are kept as the bytes that a signature is made with.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    secrets: Annotated[
        list[Annotated[SecretBytes, BeforeValidator(_secret)]],
        Field(min_length=1, max_length=_MOST_SECRETS),
    ]
    businesses: Annotated[
        list[Annotated[BusinessId, AfterValidator(_business)]],
        Field(min_length=1, max_length=_MOST_BUSINESSES),
    ]


def parse_webhook_keys(text: str) -> tuple[WebhookKey, ...]:
    """Read the setting's text.

    Errors: ValueError that says what is wrong and where, and does not repeat the value.
    """
    # Built only if the setting is set.
    form = TypeAdapter(Annotated[list[WebhookKey], Field(min_length=1, max_length=_MOST_KEYS)])
    try:
        keys = form.validate_python(read_json(text))
    except ValidationError as error:
        raise ValueError(_fault(error)) from None
    except ValueError:
        raise ValueError(
            'must be JSON, e.g. [{"id": "...", "secrets": ["whsec_..."], "businesses": ["..."]}]'
        ) from None
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("has two entries with the same id")
    secrets = [secret for key in keys for secret in key.secrets]
    if len(set(secrets)) < len(secrets):  # nobody could say which of the two sends
        raise ValueError("has the same secret twice")
    return tuple(keys)


def _fault(error: ValidationError) -> str:
    """Describe the first fault, and name its entry and member by their place."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "".join(
        f", number {step + 1}" if isinstance(step, int) else f", {step}"
        for step in first["loc"]
        if isinstance(step, int) or step in WebhookKey.model_fields  # else it may be a secret
    )
    reason = first["msg"].removeprefix("Value error, ")
    return f"is not usable: the list{place}: {reason[:1].lower()}{reason[1:]}"
