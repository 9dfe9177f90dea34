"""The settings of the service: every environment variable that it reads.

Owns names, defaults and rules. Does *not* read the environment itself: ``Settings.read`` is handed
a mapping, once per worker. A missing or contradictory setting is a ``Misconfigured`` with one
sentence that names it; its value is never repeated.
"""

import contextlib
import urllib.parse
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from shared.errors import Misconfigured
from shared.identity.webhook_keys import WebhookKey, parse_webhook_keys


class Cloud(StrEnum):
    """The Microsoft clouds in which Bookings exists.

    Graph reference of bookingAppointment: cancel, "national cloud deployments".
    """

    GLOBAL = "global"
    USGOV = "usgov"
    DOD = "dod"


# Entra authority, Graph root (Graph documentation, "National cloud deployments"): one choice sets
# both, because tokens of one cloud are worthless in another.
_CLOUD_HOSTS: Mapping[Cloud, tuple[str, str]] = {
    Cloud.GLOBAL: ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    Cloud.USGOV: ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    Cloud.DOD: ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
}


def _cloud(value: str) -> str:
    cloud = value.strip().lower()
    if cloud == "china":
        raise ValueError(
            "is 'china', and Microsoft Bookings does not exist there; use global, usgov or dod"
        )
    return cloud


def _guid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("must be a GUID, e.g. 11111111-2222-3333-4444-555555555555") from None


def _https_origin(value: str) -> str:
    origin = value.lower().removesuffix("/")
    try:
        parts = urllib.parse.urlsplit(origin)
        usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # its text may repeat the address
        usable = False
    if not usable or origin != f"https://{parts.netloc}":
        raise ValueError(
            "must be an https address without a path, e.g. https://graph.microsoft.com"
        )
    return origin


def _words(value: str) -> tuple[str, ...]:
    words = tuple(word for word in (part.strip() for part in value.split(",")) if word)
    if not words:  # a list that is set and empty must not turn into "any"
        raise ValueError("must be a list with at least one entry, separated by commas")
    return words


def _existing_file(value: Path) -> Path:
    with contextlib.suppress(OSError):  # e.g. a folder that may not be entered
        if value.is_file():
            return value
    raise ValueError("names a file that cannot be read")


Guid = Annotated[str, AfterValidator(_guid)]
HttpsOrigin = Annotated[str, AfterValidator(_https_origin)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
GuidWords = Annotated[tuple[Guid, ...], BeforeValidator(_words)]
File = Annotated[Path, AfterValidator(_existing_file)]

_CREDENTIALS = ("CLIENT_SECRET", "CLIENT_CERTIFICATE_PATH", "MANAGED_IDENTITY_CLIENT_ID")


class TelemetrySettings(BaseModel):
    """Where telemetry goes. The names of fields are the environment variables in lower case.

    It can be read by itself, so that a service whose other settings are wrong is seen, too.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        str_strip_whitespace=True,
        alias_generator=str.upper,
        hide_input_in_errors=True,
    )

    telemetry: Literal["off", "console", "otlp", "azure_monitor"] = "off"
    # The Functions host reads it as well, so it may be set while telemetry is off.
    applicationinsights_connection_string: SecretStr | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; an empty value counts as absent.

        Errors: Misconfigured, naming the setting at fault.
        """
        given = {name: value for name, value in environment.items() if value.strip()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise Misconfigured(_sentence(error)) from None

    @model_validator(mode="after")
    def _check_telemetry(self) -> Self:
        if self.telemetry == "azure_monitor" and self.applicationinsights_connection_string is None:
            raise ValueError(
                "TELEMETRY is azure_monitor, so APPLICATIONINSIGHTS_CONNECTION_STRING must be set."
            )
        return self


class Settings(TelemetrySettings):
    """All settings, read and checked."""

    tenant_id: Guid
    client_id: Guid

    client_secret: SecretStr | None = None
    client_certificate_path: File | None = None
    client_certificate_password: SecretStr | None = None
    managed_identity_client_id: Guid | None = None

    cloud: Annotated[Cloud, BeforeValidator(_cloud)] = Cloud.GLOBAL
    entra_authority_host: HttpsOrigin = Field(
        default_factory=lambda earlier: _CLOUD_HOSTS[earlier["cloud"]][0]
    )
    graph_endpoint: HttpsOrigin = Field(
        default_factory=lambda earlier: _CLOUD_HOSTS[earlier["cloud"]][1]
    )
    graph_api_version: Literal["v1.0", "beta"] = "v1.0"
    graph_bookings_root: Annotated[str, Field(pattern=r"^/?[A-Za-z0-9]+(/[A-Za-z0-9]+)*/?$")] = (
        "solutions/bookingBusinesses"
    )
    graph_scope: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = (
        "BookingsAppointment.ReadWrite.All"
    )

    audiences: Words = Field(
        default_factory=lambda earlier: (earlier["client_id"], f"api://{earlier['client_id']}")
    )
    allowed_tenants: GuidWords = Field(default_factory=lambda earlier: (earlier["tenant_id"],))
    allowed_client_ids: GuidWords = ()
    required_scope: Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,100}$")] = (
        "Appointments.Cancel"
    )

    default_cancellation_message: Annotated[str, Field(min_length=1, max_length=2000)] = (
        "Your appointment has been cancelled."
    )
    request_deadline_seconds: Annotated[float, Field(ge=2, le=50)] = (
        10.0  # host.json ends a function after a minute
    )
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] = 64
    max_concurrency_per_business: Annotated[int, Field(ge=1, le=100)] = 4

    idempotency_store: Literal["memory", "table"] = "memory"
    idempotency_table_endpoint: HttpsOrigin | None = None
    idempotency_table_connection_string: SecretStr | None = None
    idempotency_table_name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$")] = (
        "idempotency"
    )

    webhook_keys: Annotated[tuple[WebhookKey, ...], BeforeValidator(parse_webhook_keys)] = ()

    ca_bundle: File | None = None

    @property
    def bookings_segments(self) -> tuple[str, ...]:
        """The path segments below the API version that lead to the booking businesses."""
        return tuple(self.graph_bookings_root.strip("/").split("/"))

    @property
    def graph_scope_uri(self) -> str:
        """The delegated permission as it is asked for: qualified by the Graph of this cloud."""
        return f"{_CLOUD_HOSTS[self.cloud][1]}/{self.graph_scope}"

    @property
    def graph_default_scope_uri(self) -> str:
        """What an application asks for when it acts as itself.

        It is every role that it was given at the Graph of this cloud.
        """
        return f"{_CLOUD_HOSTS[self.cloud][1]}/.default"

    @model_validator(mode="after")
    def _check_credential_and_address(self) -> Self:
        given = [name for name in _CREDENTIALS if getattr(self, name.lower()) is not None]
        if len(given) != 1:
            found = "none is" if not given else f"{' and '.join(given)} are"
            raise ValueError(f"Exactly one of {', '.join(_CREDENTIALS)} must be set; {found}.")
        if self.client_certificate_password is not None and self.client_certificate_path is None:
            raise ValueError("CLIENT_CERTIFICATE_PASSWORD is set without CLIENT_CERTIFICATE_PATH.")
        if (
            self.graph_api_version == "v1.0"
            and self.bookings_segments[0].lower() == "bookingbusinesses"
        ):
            raise ValueError(
                "GRAPH_API_VERSION is v1.0, which has the booking businesses below solutions "
                "only: set GRAPH_BOOKINGS_ROOT to solutions/bookingBusinesses, or "
                "GRAPH_API_VERSION to beta."
            )
        return self

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        places = ("IDEMPOTENCY_TABLE_ENDPOINT", "IDEMPOTENCY_TABLE_CONNECTION_STRING")
        given = [name for name in places if getattr(self, name.lower()) is not None]
        if self.idempotency_store == "table" and len(given) != 1:
            raise ValueError(
                f"IDEMPOTENCY_STORE is table, so exactly one of {' and '.join(places)} must be set."
            )
        if self.idempotency_store == "memory" and given:
            raise ValueError(f"{given[0]} is set, but IDEMPOTENCY_STORE is memory.")
        return self


def _sentence(error: ValidationError) -> str:
    """Say what is wrong with the first setting at fault, without repeating its value."""
    first = error.errors(include_url=False, include_input=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return reason
    name = first["loc"][0]
    if first["type"] == "missing":
        return f"The setting {name} is missing."
    if first["type"] != "value_error":
        reason = f"is not usable: {reason[:1].lower()}{reason[1:]}"
    return f"The setting {name} {reason}."
