"""How the simulated token endpoint checks the application's credential.

The credential is a secret, a certificate, or a federated credential. The rules of a signed
assertion are those of Microsoft's "Certificate credentials": PS256 or RS256, ``x5t#S256`` or
``x5t``, ``iss`` and ``sub`` the client id, ``aud`` the token endpoint or the issuer, ``exp`` ahead
(Entra sets it no limit). ``jti`` must be there, but may come again: clients use one assertion for
minutes.
"""

import base64
import binascii
from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from infra.local import seed
from infra.local.entra.directory import Directory
from infra.local.entra.errors import Refused
from infra.local.entra.keys import unverified_claims
from infra.local.entra.tokens import TokenMint

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLOCK_SKEW_S = 300


class ClientCheck:
    """Checks the application's credential in a token request."""

    def __init__(self, directory: Directory, mint: TokenMint) -> None:
        self._directory = directory
        self._mint = mint

    def check(self, tenant_id: str, form: Mapping[str, str], authorization: str, now: float) -> str:
        """Return how the client proved itself, as ``appidacr`` says it. Errors: Refused.

        "1" means by secret, "2" by assertion.
        """
        client_id, secret = _basic(authorization) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if not client_id:
            raise Refused(
                900144, "The request body must contain the following parameter: 'client_id'."
            )
        if client_id.lower() != seed.API_CLIENT_ID:
            raise Refused(
                700016,
                (
                    f"Application with identifier '{client_id}' was not found in the directory "
                    f"'{tenant_id}'."
                ),
            )
        if secret:
            self._check_secret(secret)
            return "1"
        assertion = form.get("client_assertion", "")
        if not assertion or form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refused(7000218)
        if unverified_claims(assertion).get("iss") == seed.API_CLIENT_ID:
            self._check_certificate(tenant_id, assertion, now)
        else:
            self._check_federated(assertion, now)
        return "2"

    def _check_secret(self, secret: str) -> None:
        valid = self._directory.secret_state(secret)
        if valid is None:
            raise Refused(
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request "
                "is the client secret value, not the client secret ID, "
                f"for a secret added to app '{seed.API_CLIENT_ID}'.",
            )
        if not valid:
            raise Refused(7000222)

    def _check_certificate(self, tenant_id: str, assertion: str, now: float) -> None:
        try:
            header = jwt.get_unverified_header(assertion)
        except jwt.PyJWTError as exc:
            raise Refused(50027) from exc
        if header.get("alg") not in ("PS256", "RS256"):
            raise Refused(5002738)
        thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "")
        certificate = self._directory.certificate(thumbprint)
        if certificate is None:
            reason = (
                "[Reason - The key was not found., Thumbprint of key used by client: "
                f"'{_hex(thumbprint)}']"
            )
            raise Refused(
                700027,
                (
                    "The certificate with identifier used to sign the client assertion is not "
                    f"registered on application. {reason}"
                ),
            )
        if (
            not certificate.not_valid_before_utc.timestamp()
            <= now
            <= certificate.not_valid_after_utc.timestamp()
        ):
            raise Refused(
                700027,
                "Client assertion failed signature validation. [Reason - The key used is expired.]",
            )
        public_key = certificate.public_key()
        if not isinstance(public_key, RSAPublicKey):
            raise Refused(5002738)
        try:
            jwt.PyJWS().decode_complete(assertion, public_key, algorithms=["PS256", "RS256"])
        except jwt.PyJWTError as exc:
            raise Refused(700027) from exc
        self._check_statement(tenant_id, unverified_claims(assertion), now)

    def _check_statement(self, tenant_id: str, claims: Mapping[str, object], now: float) -> None:
        if claims.get("sub") != seed.API_CLIENT_ID:
            raise Refused(50048)
        _check_times(claims, now)
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) > 1:
            raise Refused(5002741)
        issuer = self._mint.issuer(tenant_id, "2.0")
        if audience not in (
            f"{self._mint.base_url}/{tenant_id}/oauth2/v2.0/token",
            issuer,
            f"{issuer}/",
            f"{self._mint.base_url}/{tenant_id}/",
        ):
            raise Refused(50012, "Client assertion audience claim does not match Realm issuer.")
        if not claims.get("jti"):
            raise Refused(
                50027, "JWT token is invalid or malformed. The client assertion has no 'jti' claim."
            )

    def _check_federated(self, assertion: str, now: float) -> None:
        claims, credentials = unverified_claims(assertion), self._directory.federated_credentials()
        if not claims:
            raise Refused(50027)
        if not credentials:
            raise Refused(70021)
        # The managed identity is in the tenant of the app.
        own = self._mint.issuer(self._directory.tenant_ids[0], "2.0")
        matching = [known for known in credentials if (known.issuer or own) == claims.get("iss")]
        if not matching:
            raise Refused(
                700211,
                (
                    "No matching federated identity record found for presented assertion issuer "
                    f"'{claims.get('iss')}'."
                ),
            )
        matching = [known for known in matching if known.subject == claims.get("sub")]
        if not matching:
            raise Refused(
                700213,
                (
                    "No matching federated identity record found for presented assertion subject "
                    f"'{claims.get('sub')}'."
                ),
            )
        if not any(known.audience == claims.get("aud") for known in matching):
            raise Refused(
                700212,
                (
                    "No matching federated identity record found for presented assertion "
                    f"audience '{claims.get('aud')}'."
                ),
            )
        try:
            self._mint.verify(assertion)
        except (jwt.PyJWTError, ValueError) as exc:
            raise Refused(700027) from exc
        _check_times(claims, now)
        if "scp" in claims:
            raise Refused(700229)


def _check_times(claims: Mapping[str, object], now: float) -> None:
    expires, starts = claims.get("exp"), claims.get("nbf", now)
    if (
        not isinstance(expires, int | float)
        or not isinstance(starts, int | float)
        or expires <= now - CLOCK_SKEW_S
        or starts > now + CLOCK_SKEW_S
    ):
        raise Refused(
            700024,
            (
                f"Client assertion is not within its valid time range. Current time: {now}, "
                f"expiry time of assertion {expires}."
            ),
        )


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return client_id, secret


def _hex(thumbprint: str) -> str:
    try:
        return base64.urlsafe_b64decode(thumbprint + "==").hex().upper()
    except binascii.Error:
        return ""
