"""Writes the connector's files, filled in for one deployment, into a folder.

Run it with ``python -m infra.connector.package``. Owns the values that it fills in, and which of
them it refuses. Holds no secret and asks for none: the connector's client secret goes straight into
the portal or the command line tool. Does *not* talk to anybody.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
DEFINITION, PROPERTIES, ICON, FLOW = (
    "apiDefinition.swagger.json",
    "apiProperties.json",
    "icon.png",
    "flow.definition.json",
)

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_PLACEHOLDER = re.compile(
    r"\{\{[A-Z_]*\}\}|[\w.@-]*\bexample\.(?:com|net|org)\b|your-function-app[\w.-]*"
)
_ADDRESS = re.compile(r"https://[^\s\"]{1,500}", re.ASCII)
_EMAIL = re.compile(r"[^\s@\"]{1,64}@[^\s@\"]{1,255}", re.ASCII)


class PackageRefused(ValueError):
    """No connector could work with this value; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Whom users of the connector may ask.

    A connector for one tenant needs none of it. Errors: PackageRefused.
    """

    website: str
    privacy_policy: str
    contact_name: str
    contact_email: str

    def __post_init__(self) -> None:
        for name in ("website", "privacy_policy"):
            if not _ADDRESS.fullmatch(getattr(self, name)):
                raise PackageRefused(
                    f"{name.upper()} has to be an address that begins with https://."
                )
        if not _EMAIL.fullmatch(self.contact_email):
            raise PackageRefused("CONTACT_EMAIL has to be a mail address.")
        if not self.contact_name.strip():
            raise PackageRefused("CONTACT_NAME has to be the name of a person or a team.")

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Publisher | None":
        """Read all four, or none. Errors: PackageRefused."""
        given = {name: value.strip() for name, value in values.items() if value.strip()}
        if not given:
            return None
        if missing := sorted(values.keys() - given.keys()):
            raise PackageRefused(
                f"{', '.join(missing).upper()} is missing: give all four values of the publisher, "
                "or none."
            )
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the API runs and who is who in Entra ID. Errors: PackageRefused."""

    host: str
    tenant: str
    api_client_id: str
    connector_client_id: str
    publisher: "Publisher | None" = None

    def __post_init__(self) -> None:
        _require_host(self.host)
        for name in ("tenant", "api_client_id", "connector_client_id"):
            _require_guid(name.upper(), getattr(self, name))
        if self.api_client_id == self.connector_client_id:
            raise PackageRefused(
                "CONNECTOR_CLIENT_ID is the same as API_CLIENT_ID: give the connector an app "
                "registration of its own (AADSTS90009 otherwise)."
            )


def _require_host(host: str) -> None:
    if "/" in host or ":" in host:
        raise PackageRefused(
            "HOST has to be a bare host name without scheme, port and path, e.g. "
            f"contoso-bookings.azurewebsites.net, not {host!r}."
        )
    labels = host.split(".")
    if (
        len(host) > 253
        or len(labels) < 2
        or not all(_LABEL.fullmatch(label) for label in labels)
        or labels[-1].isdigit()
    ):
        raise PackageRefused(
            "HOST has to be a public host name in small letters, e.g. "
            f"contoso-bookings.azurewebsites.net, not {host!r}."
        )


def _require_guid(name: str, value: str) -> None:
    if not _GUID.fullmatch(value) or not value.strip("0-"):
        raise PackageRefused(
            f"{name} has to be a GUID in small letters, as the app registration's overview shows "
            f"it, not {value!r}."
        )


def fill(deployment: Deployment, target: Path, source: Path = FOLDER) -> list[Path]:
    """Write the filled files into ``target`` and return them.

    Errors: PackageRefused when the source is not what it should be.
    """
    definition = _published_by(
        deployment.publisher, _without_test_values(_read(source / DEFINITION))
    ) | {"host": deployment.host}
    properties = (source / PROPERTIES).read_text(encoding="utf-8")
    for name in ("tenant", "api_client_id", "connector_client_id"):
        properties = properties.replace("{{" + name.upper() + "}}", getattr(deployment, name))
    texts = {
        DEFINITION: json.dumps(definition, indent=2, ensure_ascii=False) + "\n",
        PROPERTIES: properties,
    }
    for name, text in texts.items():
        if left := _PLACEHOLDER.search(text):
            raise PackageRefused(f"{name} holds the placeholder {left[0]}, which no value fills.")
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (target / name).write_text(text, encoding="utf-8")
    for name in (ICON, FLOW):
        shutil.copyfile(source / name, target / name)
    return [target / name for name in (DEFINITION, PROPERTIES, ICON, FLOW)]


def _without_test_values(node: Any) -> Any:
    """Return the definition without the values that only its tests need."""
    if isinstance(node, dict):
        return {
            name: _without_test_values(value)
            for name, value in node.items()
            if name != "x-ms-test-value"
        }
    return [_without_test_values(one) for one in node] if isinstance(node, list) else node


def _published_by(publisher: Publisher | None, definition: dict[str, Any]) -> dict[str, Any]:
    """Return the definition with the publisher's own addresses, or with none."""
    info = {name: value for name, value in definition.get("info", {}).items() if name != "contact"}
    metadata = definition.pop("x-ms-connector-metadata", [])
    if publisher is None:
        return {**definition, "info": info}
    info["contact"] = {
        "name": publisher.contact_name,
        "url": publisher.website,
        "email": publisher.contact_email,
    }
    own = {"Website": publisher.website, "Privacy policy": publisher.privacy_policy}
    filled = [
        entry | {"propertyValue": own.get(entry["propertyName"], entry["propertyValue"])}
        for entry in metadata
    ]
    return {**definition, "info": info, "x-ms-connector-metadata": filled}


def _read(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageRefused(f"{file.name} is missing.") from None
    except ValueError:
        raise PackageRefused(f"{file.name} is not JSON.") from None
    if not isinstance(read, dict):
        raise PackageRefused(f"{file.name} is no JSON object.")
    return read


_OF_THE_PUBLISHER = {
    "website": "address of the publisher's website",
    "privacy-policy": "address of the privacy policy",
    "contact-name": "name of a person or a team to ask",
    "contact-email": "mail address of that person or team",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the package. Exit codes: 0 written, 2 refused, with one sentence."""
    parser = argparse.ArgumentParser(
        prog="make connector",
        description="Write the connector's files, filled in for one deployment.",
    )
    parser.add_argument("--host", default="", help="host name of the Function App")
    parser.add_argument("--tenant", default="", help="directory (tenant) id")
    parser.add_argument(
        "--api-client-id", default="", help="application (client) id of the API's registration"
    )
    parser.add_argument(
        "--connector-client-id",
        default="",
        help="application (client) id of the connector's registration",
    )
    for name, what in _OF_THE_PUBLISHER.items():
        parser.add_argument(f"--{name}", default="", help=f"{what}; only for certification")
    parser.add_argument(
        "--target",
        type=Path,
        default=Path(".local") / "connector",
        help="folder to write to (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        values = (options.host, options.tenant, options.api_client_id, options.connector_client_id)
        names = [name.replace("-", "_") for name in _OF_THE_PUBLISHER]
        publisher = Publisher.read({name: getattr(options, name) for name in names})
        host, tenant, api, connector = (value.strip().lower() for value in values)
        deployment = Deployment(host, tenant, api, connector, publisher)
        written = fill(deployment, options.target)
    except PackageRefused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    print("Written, for infra/connector/readme.md step 4:")
    for file in written:
        print(f"  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
