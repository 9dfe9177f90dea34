"""What a public client asks for: scopes of one resource, and claims of its access token. Pure.

Does *not* know who may have it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.local import seed
from infra.local.entra.errors import Refused
from infra.local.entra.exchange.obo import GRAPH_RESOURCES, OIDC_SCOPES

_API = (seed.API_CLIENT_ID, f"api://{seed.API_CLIENT_ID}")
_API_SCOPES: tuple[str, ...] = (seed.REQUIRED_SCOPE,)
_GRAPH_SCOPES: tuple[str, ...] = (seed.GRAPH_SCOPE, "User.Read")
_MORE_OF_GRAPH = ("Bookings.Read.All", "Bookings.ReadWrite.All", "Bookings.Manage.All")


@dataclass(frozen=True, slots=True)
class Scope:
    """Scopes of one resource, as a token shows them.

    ``audience`` is None for this API, else the resource of Microsoft Graph as the client named it.
    ``spelled`` is what the answer calls them.
    """

    audience: str | None
    names: tuple[str, ...]
    spelled: str
    openid: bool
    offline: bool


def read_scope(value: str, graph_audience: str) -> Scope:
    """Read the scopes of a request; those of OpenID Connect may stand among them.

    ``graph_audience`` is the local Graph's own. Errors: Refused.
    """
    words = value.split()
    oidc = {word.lower() for word in words} & set(OIDC_SCOPES)
    named = [word.rpartition("/") for word in words if word.lower() not in oidc]
    graphs = (*GRAPH_RESOURCES, graph_audience)
    if not named:
        raise _not_valid("It names no scope of the API.")
    resources = {prefix.rstrip("/").lower() or GRAPH_RESOURCES[0] for prefix, _, _ in named}
    if len(resources) > 1:
        raise _not_valid("It names more than one resource.")
    (resource,) = resources
    if resource in _API:
        offered = usual = _API_SCOPES
        audience, prefix = None, f"api://{seed.API_CLIENT_ID}"
    elif resource in graphs:
        offered, usual = _GRAPH_SCOPES + _MORE_OF_GRAPH, _GRAPH_SCOPES
        audience = prefix = resource
    else:
        raise Refused(
            500011, f"The resource principal named {resource} was not found in the tenant."
        )
    by_name = {name.lower(): name for name in offered}
    granted: list[str] = []
    for _, _, name in named:
        if name.lower() == ".default":
            granted.extend(usual)
        elif name.lower() in by_name:
            granted.append(by_name[name.lower()])
        else:
            raise Refused(
                650053,
                (
                    f"The application asked for scope '{name}' that doesn't exist on the resource "
                    f"'{resource}'."
                ),
            )
    names = tuple(dict.fromkeys(granted))
    spelled = " ".join(f"{prefix}/{name}" for name in names)
    return Scope(audience, names, spelled, "openid" in oidc, "offline_access" in oidc)


def read_claims(claims: str) -> dict[str, object]:
    """Return the access-token part of a claims request; empty where there is none.

    Errors: Refused when it is not what OpenID Connect describes.
    """
    if not claims:
        return {}
    try:
        parsed = json.loads(claims)
    except (ValueError, RecursionError) as error:
        raise Refused(
            9002313, "Invalid request. The 'claims' parameter is not valid JSON."
        ) from error
    part = parsed.get("access_token") if isinstance(parsed, dict) else None
    if not isinstance(part, dict):
        raise Refused(
            9002313, "Invalid request. The 'claims' parameter asks nothing of the access token."
        )
    return part


def is_challenge(requested: Mapping[str, object]) -> bool:
    """Say whether the person has to do more than choose.

    A client that merely names its capability asks for nothing.
    """
    return bool(requested.keys() - {"xms_cc"})


def proof_of(requested: Mapping[str, object]) -> dict[str, object]:
    """Return what a token shows for what was requested.

    That is: its client can answer challenges, a second factor, and the authentication contexts that
    the client asked for.
    """
    proof: dict[str, object] = {}
    if "cp1" in {value.lower() for value in _values(requested.get("xms_cc"))}:
        proof["xms_cc"] = ["CP1"]
    if is_challenge(requested):
        proof["amr"] = ["pwd", "mfa"]
    if contexts := _values(requested.get("acrs")):
        proof["acrs"] = contexts
    return proof


def is_shown(requested: Mapping[str, object], proof: Mapping[str, object]) -> bool:
    """Say whether an earlier sign-in has proved what is requested now.

    Any newer token answers a mere ``nbf``.
    """
    wanted = requested.keys() - {"xms_cc", "nbf"}
    known = proof.get("acrs")
    contexts = set(known) if isinstance(known, list) else set[str]()
    return not wanted or ("amr" in proof and set(_values(requested.get("acrs"))) <= contexts)


def _values(wanted: object) -> list[str]:
    """Return the values of one claim of a claims request (``value`` or ``values``)."""
    if not isinstance(wanted, dict):
        return []
    values = wanted.get("values") or [wanted.get("value")]
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _not_valid(why: str) -> Refused:
    return Refused(70011, f"The provided value for the input parameter 'scope' is not valid. {why}")
