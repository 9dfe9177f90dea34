"""What the simulated token endpoint decides: a form in, the success body or a ``Refused`` out.

No HTTP. There are two grants: on behalf of (Microsoft's "OAuth 2.0 On-Behalf-Of flow") and client
credentials. The checks come in this order: client, ordered refusal, assertion, scope, standing of
the user, conditional access.
"""

import json
import secrets
from collections.abc import Callable, Mapping

import jwt

from infra.local import seed
from infra.local.entra.directory import Directory
from infra.local.entra.errors import Refused
from infra.local.entra.exchange.clients import ClientCheck
from infra.local.entra.keys import Claims, b64url, unverified_claims
from infra.local.entra.tokens import TokenMint

ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_CREDENTIALS = "client_credentials"
OIDC_SCOPES = ("email", "openid", "profile", "offline_access")
GRAPH_RESOURCES = (
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "00000003-0000-0000-c000-000000000000",
)


class TokenEndpoint:
    """The policy behind ``/oauth2/v2.0/token``.

    Lifetimes are in seconds; ``cae_lifetime_s`` is for clients that declare CP1.
    """

    def __init__(self, directory: Directory, mint: TokenMint, now: Callable[[], float]) -> None:
        self.graph_lifetime_s = 3600.0
        self.cae_lifetime_s = 86400.0
        self._directory = directory
        self._mint = mint
        self._now = now
        self._clients = ClientCheck(directory, mint)

    def answer(
        self, tenant_id: str, form: Mapping[str, str], authorization: str = ""
    ) -> dict[str, object]:
        """Return the success body. Errors: Refused."""
        if not (grant := form.get("grant_type")):
            raise Refused(900144)
        if grant not in (ON_BEHALF_OF, CLIENT_CREDENTIALS):
            raise Refused(70003, f"The app requested an unsupported grant type '{grant}'.")
        if tenant_id == "common":
            raise Refused(50194)
        acr = self._clients.check(tenant_id, form, authorization, self._now())
        if grant == CLIENT_CREDENTIALS:
            return self._client_credentials(tenant_id, form, acr)
        return self._on_behalf_of(tenant_id, form, acr)

    def _on_behalf_of(self, tenant_id: str, form: Mapping[str, str], acr: str) -> dict[str, object]:
        for name in ("requested_token_use", "assertion", "scope"):
            if not form.get(name):
                raise Refused(
                    900144, f"The request body must contain the following parameter: '{name}'."
                )
        if form["requested_token_use"] != "on_behalf_of":
            raise Refused(9002313)
        if refused := self._directory.take_refusal(
            str(unverified_claims(form["assertion"]).get("oid"))
        ):
            raise refused
        assertion = self._check_assertion(tenant_id, form["assertion"])
        resource, asked, spelled = self._read_scope(form["scope"])
        object_id = str(assertion["oid"])
        self._directory.check_standing(object_id, self._mint.minted_at(assertion))
        if not set(asked) <= {scope.lower() for scope in self._directory.granted_scopes} | {
            ".default"
        }:
            raise Refused(65001)
        requested = _read_claims(form.get("claims"))
        self._check_conditional_access(object_id, requested, assertion)

        granted = [
            *sorted(scope for scope in self._directory.granted_scopes if scope not in OIDC_SCOPES)
        ]
        user = seed.User(
            object_id,
            str(assertion.get("preferred_username") or assertion.get("upn") or ""),
            str(assertion.get("name") or ""),
        )
        lifetime_s, extra = self.graph_lifetime_s, {}
        if "CP1" in _values(requested.get("xms_cc")):
            lifetime_s, extra = self.cae_lifetime_s, {"xms_cc": ["CP1"]}
        authentication: dict[str, object] = {
            name: assertion[name] for name in ("amr", "acrs") if name in assertion
        }
        body: dict[str, object] = {
            "token_type": "Bearer",
            "scope": " ".join(
                ["email", "openid", "profile", *(f"{spelled}{scope}" for scope in granted)]
            ),
            "expires_in": int(lifetime_s),
            "ext_expires_in": int(lifetime_s),
            "access_token": self._mint.graph_token(
                user,
                client_acr=acr,
                audience=resource,
                scopes=" ".join(["email", "openid", "profile", *granted]),
                tenant_id=tenant_id,
                lifetime_s=lifetime_s,
                claims={**authentication, **extra},
            ),
        }
        if "openid" in asked:
            body["id_token"] = self._mint.id_token(
                user, tenant_id=tenant_id, profile="profile" in asked
            )
        if "offline_access" in asked:
            body["refresh_token"] = f"1.A{secrets.token_urlsafe(96)}"
        if form.get("client_info") == "1":
            body["client_info"] = b64url(
                json.dumps({"uid": object_id, "utid": tenant_id}, separators=(",", ":")).encode()
            )
        return body

    def _client_credentials(
        self, tenant_id: str, form: Mapping[str, str], acr: str
    ) -> dict[str, object]:
        if not form.get("scope"):
            raise Refused(900144, "The request body must contain the following parameter: 'scope'.")
        resource, asked, _ = self._read_scope(form["scope"])
        if asked != [".default"]:
            raise Refused(
                70011,
                (
                    "The provided value for the input parameter 'scope' is not valid. The scope "
                    "must end in '/.default'."
                ),
            )
        token = self._mint.graph_token(
            None,
            client_acr=acr,
            audience=resource,
            roles=self._directory.granted_roles,
            tenant_id=tenant_id,
            lifetime_s=self.graph_lifetime_s,
        )
        lifetime_s = int(self.graph_lifetime_s)
        return {
            "token_type": "Bearer",
            "expires_in": lifetime_s,
            "ext_expires_in": lifetime_s,
            "access_token": token,
        }

    def _check_assertion(self, tenant_id: str, token: str) -> dict[str, object]:
        try:
            claims = self._mint.verify(token)
        except jwt.InvalidSignatureError as exc:
            raise Refused(50013) from exc
        except (jwt.PyJWTError, ValueError) as exc:
            raise Refused(50027) from exc
        if claims.get("aud") not in _own_audiences():
            raise Refused(
                500131,
                "Assertion audience does not match the Client app presenting the assertion. "
                f"The audience in the assertion was '{claims.get('aud')}' and the expected "
                f"audience is '{seed.API_CLIENT_ID}'.",
            )
        expires, starts, now = claims.get("exp"), claims.get("nbf"), self._now()
        if (
            not isinstance(expires, int | float)
            or now >= expires
            or not isinstance(starts, int | float)
            or now < int(starts)
        ):
            raise Refused(
                500133,
                (
                    f"Assertion is not within its valid time range. Current time: {now}, expiry "
                    f"time of assertion {expires}."
                ),
            )
        if (
            claims.get("iss") != self._mint.issuer(tenant_id, str(claims.get("ver")))
            or claims.get("tid") != tenant_id
        ):
            raise Refused(
                50013,
                (
                    "Assertion failed validation. [Reason - The token issuer does not match the "
                    "tenant of the request.]"
                ),
            )
        if "azp" not in claims and "appid" not in claims:
            raise Refused(240002)
        if "scp" not in claims or claims.get("idtyp") == "app" or not claims.get("oid"):
            raise Refused(
                7000114,
                (
                    f"Application '{claims.get('azp') or claims.get('appid')}' is not allowed to "
                    "make application on-behalf-of calls."
                ),
            )
        return claims

    def _read_scope(self, value: str) -> tuple[str, list[str], str]:
        """Return the resource, its scopes in lower case, and the prefix as the client spelled it.

        The scopes are without the prefix.
        """
        resources, asked = set[str](), list[str]()
        for word in value.split():
            prefix, slash, scope = word.rpartition("/")
            if slash:
                resources.add(prefix.rstrip("/"))
            asked.append((scope if slash else word).lower())
        if len(resources) > 1:
            raise Refused(
                70011,
                (
                    "The provided value for the input parameter 'scope' is not valid. The scope "
                    f"'{value}' names more than one resource."
                ),
            )
        if ".default" in asked and set(asked) - {".default", *OIDC_SCOPES}:
            raise Refused(
                70011,
                (
                    ".default scope can't be combined with resource-specific scopes. The scope "
                    f"'{value}' is not valid."
                ),
            )
        resource = next(iter(resources), self._mint.graph_audience)
        if resource not in (self._mint.graph_audience, *GRAPH_RESOURCES):
            raise Refused(
                500011, f"The resource principal named {resource} was not found in the tenant."
            )
        return resource, asked, f"{resource}/" if resources else ""

    def _check_conditional_access(
        self, object_id: str, requested: Claims, assertion: Claims
    ) -> None:
        """Refuse unless the assertion itself shows what is demanded.

        A repeated challenge to this endpoint never answers it.
        """
        policy = self._directory.demand(object_id)
        shown = _values(assertion.get("acrs"))
        if "mfa" in _values(assertion.get("amr")):
            return
        if policy is not None and not (_values(_read_claims(policy).get("acrs")) & shown):
            raise Refused(50076, claims=policy)
        for name, wanted in requested.items():
            if name not in ("xms_cc", "nbf") and not (name == "acrs" and _values(wanted) & shown):
                raise Refused(
                    50076,
                    claims=json.dumps({"access_token": {name: wanted}}, separators=(",", ":")),
                )


def _own_audiences() -> tuple[str, ...]:
    client_id = seed.API_CLIENT_ID
    return client_id, f"api://{client_id}", f"api://{client_id}/"


def _read_claims(value: str | None) -> Claims:
    """Return the access-token part of a claims request; empty where there is none.

    Errors: Refused when it is not a JSON object.
    """
    if not value:
        return {}
    try:
        parsed = json.loads(value)
    except ValueError as exc:
        raise Refused(
            9002313, "Invalid request. The 'claims' parameter is not valid JSON."
        ) from exc
    part = parsed.get("access_token") if isinstance(parsed, dict) else None
    return part if isinstance(part, dict) else {}


def _values(wanted: object) -> set[str]:
    """Return the values of one claim, of a token or of a claims request.

    A token has a list, a claims request ``value`` or ``values``.
    """
    if isinstance(wanted, dict):
        wanted = wanted.get("values") or [wanted.get("value")]
    return {str(value) for value in wanted} if isinstance(wanted, list) else set()
