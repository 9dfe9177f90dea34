"""Entra's refusals: the exception of the checks, the table by AADSTS code, and the answer.

Sources: Microsoft's "Authentication and authorization error codes" for the causes. For HTTP status,
``error`` and ``suberror``, reported answers of the real service, where there are any (50005, 50013,
500011, 500131, 500133, 50076, 50079, 50173, 53005, 530003, 65001, 700003, 700016, 7000113, 7000114,
7000215, 700213, 70011, 70021, 90033); else what is usual for that family.
"""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

ERROR_PAGE = "https://login.microsoftonline.com/error?code="

CONDITIONAL_ACCESS_CLAIMS = json.dumps(
    {
        "access_token": {
            "capolids": {"essential": True, "values": ["5ce770ea-8690-4747-aa73-c5b3cd509cd4"]}
        }
    },
    separators=(",", ":"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row: the words of the answer.

    ``claims`` says that the answer has a claims challenge. ``retry_after_s`` is its Retry-After
    header.
    """

    status: int
    error: str
    suberror: str | None
    claims: bool
    text: str
    retry_after_s: int | None = None


def _rows(
    texts: str,
    *,
    status: int = 400,
    error: str = "invalid_grant",
    suberror: str | None = None,
    claims: bool = False,
    wait: int | None = None,
) -> dict[int, Refusal]:
    """Return the rows of a text in which each entry is a code and its words.

    The words may go on in the next lines.
    """
    entries = re.findall(r"^ *(\d+) (.+?)(?=\n *\d+ |\Z)", texts, re.MULTILINE | re.DOTALL)
    return {
        int(code): Refusal(status, error, suberror, claims, " ".join(words.split()), wait)
        for code, words in entries
    }


_MFA = "you must use multi-factor authentication to access '00000003-0000-0000-c000-000000000000'."
_POLICY = (
    "Due to a configuration change made by your administrator, or because you moved to a new "
    "location,"
)

_ASSERTION = _rows(
    """
        50013 Assertion failed signature validation. [Reason - The provided signature value did not
            match the expected signature value.]
        500131 Assertion audience does not match the Client app presenting the assertion.
        500133 Assertion is not within its valid time range. Ensure that the access token is not
            expired before using it for user assertion.
        50027 JWT token is invalid or malformed.
        240002 Input id_token cannot be used as 'urn:ietf:params:oauth:grant-type:jwt-bearer' grant.
        7000113 Application is not authorized to make application on-behalf-of calls.
        """,
) | _rows(
    """
        7000114 Application is not allowed to make application on-behalf-of calls.
        """,
    error="unauthorized_client",
)

_INTERACTION = (
    _rows(
        f"""
        50076 {_POLICY} {_MFA}
        50072 {_POLICY} you must enroll in multi-factor authentication.
        50074 Strong Authentication is required.
        50078 Presented multi-factor authentication has expired due to policies configured by your
            administrator.
        50158 External security challenge not satisfied.
        700020 The access grant requires interaction.
        """,
        suberror="basic_action",
        claims=True,
    )
    | _rows(
        f"""
        50079 {_POLICY} you must enroll in multi-factor authentication.
        """,
        error="interaction_required",
        claims=True,
    )
    | _rows(
        """
        50097 Device authentication is required.
        50129 Device is not workplace joined. Workplace join is required to register the device.
        53000 Device is not in required device state: compliant. Conditional Access policy requires
            a compliant device.
        53001 Device is not in required device state: domain_joined. Conditional Access policy
            requires a domain joined device.
        53002 The app used is not an approved app for Conditional Access.
        """,
        suberror="additional_action",
        claims=True,
    )
    | _rows(
        """
        50131 Device is not in required device state, or the request was blocked due to suspicious
            activity or a policy.
        53003 Access has been blocked by Conditional Access policies. The access policy does not
            allow token issuance.
        """,
        suberror="message_only",
        claims=True,
    )
    | _rows(
        """
        530032 Blocked by security policy.
        530035 Access has been blocked by security defaults.
        53004 User needs to complete the multi-factor authentication registration process before
            accessing this content.
        53011 User blocked due to risk on home tenant.
        """,
        suberror="message_only",
    )
    | _rows(
        """
        50005 User tried to sign in to a device from a platform that's currently not supported
            through Conditional Access policy.
        530001 Your browser is not supported.
        530002 Your device is required to be compliant to access this resource.
        530003 Your device is required to be managed to access this resource.
        530004 The device's compliance could not be determined.
        530021 Application does not meet the Conditional Access approved app requirements.
        530031 Access policy does not allow token issuance.
        """,
    )
    | _rows(
        """
        53005 Application needs to enforce Intune protection policies.
        53009 Application needs to enforce Intune protection policies.
        """,
        error="unauthorized_client",
        suberror="protection_policy_required",
    )
)

_CONSENT = (
    _rows(
        """
        65001 The user or administrator has not consented to use the application. Send an
            interactive authorization request for this user and resource.
        """,
        suberror="consent_required",
    )
    | _rows(
        """
        65004 User declined to consent to access the app.
        """,
        error="access_denied",
    )
    | _rows(
        """
        90094 Admin consent is required for the permissions requested by this application.
        90095 Admin consent is required for the permissions requested by this application. A request
            was sent to the admin.
        """,
        suberror="consent_required",
    )
)

_USER = (
    _rows(
        """
        50020 User account from identity provider does not exist in tenant and cannot access the
            application in that tenant.
        50034 The user account does not exist in the directory.
        51004 The user account does not exist in the directory. To sign into this application, the
            account must be added to the directory.
        50014 The user account does not exist in the directory. The redemption of the invitation is
            pending.
        50057 The user account is disabled.
        50053 The account is locked, or the sign-in was blocked because it came from an IP address
            with malicious activity.
        50105 The signed in user is not assigned to a role for the application.
        500341 The user account has been deleted from the directory.
        500571 The guest user account is disabled.
        90072 The external account that the user signed in with does not exist on the tenant and
            cannot access the application.
        50177 External challenge is not supported for passthrough users.
        50178 Session control is not supported for passthrough users.
        530034 A delegated administrator was blocked due to account risk in their home tenant.
        53010 Multi-factor methods cannot be configured: the organization requires this to be done
            from specific locations or devices.
        135011 The device used during the authentication is disabled.
        5000224 We are sorry, this resource is not available.
        5000225 This tenant has been blocked due to inactivity.
        50002 Sign-in failed because of a restricted proxy access on the tenant.
        54000 The user is not allowed to access the application due to the legal age group rule.
        90093 Graph returned with a forbidden error code for the request.
        1000104 Resource cloud isn't allowed on identity tenant.
        500021 Access to the tenant is denied: the tenant restriction feature is configured.
        500022 Access to the tenant is denied: the tenant restriction feature is configured.
        5000211 A tenant restrictions policy added to this request by a device or network
            administrator does not allow access to the tenant.
        700003 Device object was not found in the tenant directory.
        500212 The user's administrator has set an outbound access policy that does not allow access
            to the resource tenant.
        500213 The resource tenant's cross-tenant access policy does not allow this user to access
            this tenant.
        """,
    )
    | _rows(
        """
        50055 The password is expired.
        50144 The user's Active Directory password has expired.
        """,
        suberror="user_password_expired",
    )
    | _rows(
        """
        50173 The provided grant has expired due to it being revoked, a fresh auth token is needed.
            The user might have changed or reset their password.
        50132 The session is not valid due to password expiration or recent password change.
        50133 The session is not valid due to password expiration or recent password change.
        50089 Authentication failed due to flow token expired.
        70043 The refresh token has expired or is invalid due to sign-in frequency checks by
            Conditional Access.
        """,
        suberror="bad_token",
    )
    | _rows(
        """
        70008 The provided authorization code or refresh token has expired due to inactivity.
        700082 The refresh token has expired due to inactivity.
        700084 The refresh token was issued to a single page app (SPA), and therefore has a fixed,
            limited lifetime.
        """,
        suberror="token_expired",
    )
)

_APPLICATION = (
    _rows(
        """
        700016 Application with identifier was not found in the directory.
        700011 Application with identifier was not found in the directory.
        70001 The application is disabled, or was not found in the directory.
        7000112 Application is disabled.
        90099 The application has not been authorized in the tenant. Applications must be authorized
            to access the customer tenant before partner delegated administrators can use them.
        """,
        error="unauthorized_client",
    )
    | _rows(
        """
        7000229 The client application is missing a service principal in the tenant.
        """,
        error="invalid_client",
    )
    | _rows(
        """
        65005 The application's required resource access list does not contain applications
            discoverable by the resource.
        650052 The app needs access to a service that your organization has not subscribed to or
            enabled.
        650056 Misconfigured application. The client has not listed any permissions for the
            resource, or the admin has not consented in the tenant.
        """,
        error="invalid_client",
    )
    | _rows(
        """
        650054 The application asked for permissions to access a resource that has been removed or
            is no longer available.
        650057 Invalid resource. The client has requested access to a resource which is not listed
            in its requested permissions.
        500011 The resource principal was not found in the tenant. You might have sent your
            authentication request to the wrong tenant.
        500014 The service principal for the resource is disabled. A subscription within the tenant
            has lapsed, or the administrator has disabled the application.
        50001 The resource is disabled or does not exist.
        """,
        error="invalid_resource",
    )
    | _rows(
        """
        7000215 Invalid client secret provided. Ensure the secret being sent in the request is the
            client secret value, not the client secret ID.
        70002 Error validating credentials. The specified client_secret does not match the expected
            value for this client.
        7000222 The provided client secret keys for app are expired. Visit the Azure portal to
            create new keys for your app.
        7000218 The request body must contain the following parameter: 'client_assertion' or
            'client_secret'.
        700027 Client assertion failed signature validation.
        7000274 The certificate that signed the client assertion is not registered for this app.
        700024 Client assertion is not within its valid time range.
        7000214 The certificate that signed the client assertion has been revoked.
        7000277 The certificate chain of the client assertion could not be validated.
        1000502 The provided certificate is not within its specified validity period.
        700030 Invalid certificate - subject name in certificate is not authorized.
        50012 Authentication failed. Client assertion audience claim does not match Realm issuer, or
            its certificate is not authorized.
        50048 Subject must match Issuer claim in the client assertion.
        5002738 Invalid JWT token. The signature algorithm is not supported. Supported signing
            algorithms are: 'RS256, PS256'.
        5002741 Number of audience values in the provided client credential exceed maximum allowed.
            Maximum allowed is 1.
        700211 No matching federated identity record found for presented assertion issuer. Check
            your federated identity credential Issuer.
        700212 No matching federated identity record found for presented assertion audience. Check
            your federated identity credential Audience.
        700213 No matching federated identity record found for presented assertion subject. Check
            your federated identity credential Subject.
        700229 Only app-only tokens can be used as Federated Identity Credentials for the Entra
            issuer.
        """,
        status=401,
        error="invalid_client",
    )
    | _rows(
        """
        70021 No matching federated identity record found for presented assertion.
        """,
        error="invalid_request",
    )
)

_REQUEST = (
    _rows(
        """
        70011 The provided value for the input parameter 'scope' is not valid.
        28002 Provided value for the input parameter scope is not valid when requesting an access
            token.
        700022 The provided value for the input parameter scope is not valid because it contains
            more than one resource.
        700023 The provided value for the input parameter scope is not valid because it does not
            name a resource.
        """,
        error="invalid_scope",
    )
    | _rows(
        """
        900144 The request body must contain the following parameter: 'grant_type'.
        50146 This application is required to be configured with an application-specific signing
            key.
        501461 AcceptMappedClaims is only supported for a token audience matching the application
            GUID or an audience within the tenant's verified domains.
        9002313 Invalid request. Request is malformed or invalid.
        90009 Application is requesting a token for itself. This scenario is supported only if
            resource is specified using the GUID based App Identifier.
        90008 The user or administrator has not consented to use the application. The app must
            require access to Windows Azure Active Directory.
        90002 Tenant not found. Check to make sure you have the correct tenant ID and are signing
            into the correct cloud.
        50059 No tenant-identifying information found in either the request or implied by any
            provided credentials.
        900382 Confidential Client is not supported in Cross Cloud request.
        900432 Confidential Client is not supported in Cross Cloud request.
        90038 The tenant named in the request is homed in another national cloud.
        50194 Application is not configured as a multi-tenant application. Usage of the /common
            endpoint is not supported for such applications.
        9001023 The grant type is not supported over the /common or /consumers endpoints. Please use
            the /organizations or tenant-specific endpoint.
        """,
        error="invalid_request",
    )
    | _rows(
        """
        50049 Unknown or invalid instance.
        """,
        error="invalid_instance",
    )
    | _rows(
        """
        70003 The app requested an unsupported grant type.
        """,
        error="unsupported_grant_type",
    )
)

_SERVICE = (
    _rows(
        """
        50196 The server terminated an operation because it encountered a client request loop.
            Please contact your app vendor.
        """
    )
    | _rows(
        """
        90033 A transient error has occurred. Please try again.
        90006 The service is temporarily unavailable. Please retry later.
        90090 The Graph service is temporarily unavailable. Please retry later.
        90024 The request budget was exceeded. Please retry later.
        90012 The request has timed out.
        50033 A transient error has occurred. Please try again.
        50087 A transient error has occurred during strong authentication. Please try again.
        90091 An error from the Graph service has occurred. Please try again.
        """,
        status=503,
        error="temporarily_unavailable",
    )
    | _rows(
        """
        90055 The request was throttled due to too many requests.
        """,
        status=429,
        error="temporarily_unavailable",
        wait=7,
    )
    | _rows(
        """
        90036 An unexpected, non-retryable error stemming from the directory service has occurred.
        90092 Non-retryable error has occurred.
        50000 There was an error issuing a token or an issue with our sign-in service.
        """,
        status=500,
        error="server_error",
    )
)

REFUSALS: Mapping[int, Refusal] = (
    _ASSERTION | _INTERACTION | _CONSENT | _USER | _APPLICATION | _REQUEST | _SERVICE
)

# What the sign-in pages and the redemption of their grants refuse with. It never answers an
# on-behalf-of exchange.
SIGN_IN_REFUSALS: Mapping[int, Refusal] = (
    _rows(
        """
        50011 The redirect URI specified in the request does not match the redirect URIs configured
            for the application.
        9002325 Proof Key for Code Exchange is required for cross-origin authorization code
            redemption.
        9002326 Cross-origin token redemption is permitted only for the 'Single-Page Application'
            client-type.
        9002327 Tokens issued for the 'Single-Page Application' client-type may only be redeemed via
            cross-origin requests.
        """,
        error="invalid_request",
    )
    | _rows(
        """
        501481 The Code_Verifier does not match the code_challenge supplied in the authorization
            request.
        54005 OAuth2 Authorization code was already redeemed, please retry with a new valid code or
            use an existing refresh token.
        70000 Provided grant is invalid or malformed.
        500112 The reply address does not match the reply address provided when requesting the
            authorization code.
        """,
    )
    | _rows(
        """
        650053 The application asked for a scope that does not exist on the resource.
        """,
        error="invalid_client",
    )
    | _rows(
        """
        700025 Client is public so neither 'client_assertion' nor 'client_secret' should be
            presented.
        """,
        status=401,
        error="invalid_client",
    )
    | _rows(
        """
        700054 The response_type is not enabled for the application.
        """,
        error="unsupported_response_type",
    )
    | _rows(
        """
        50058 A silent sign-in request was sent but no user is signed in.
        """,
        error="login_required",
    )
    | _rows(
        """
        70016 OAuth 2.0 device flow error. Authorization is pending. Continue polling.
        """,
        error="authorization_pending",
    )
    | _rows(
        """
        70020 The provided value for the input parameter 'device_code' is not valid. This device
            code has expired.
        70019 Verification code expired. Have the user try the sign-in again.
        """,
        error="expired_token",
    )
    | _rows(
        """
        70018 Invalid verification code due to the user typing in the wrong user code for the device
            code flow.
        """,
        error="bad_verification_code",
    )
)


class Refused(Exception):
    """The request is refused with this AADSTS code.

    ``text`` replaces the row's words; ``claims`` (JSON) replaces the row's challenge.
    """

    def __init__(
        self,
        code: int,
        text: str | None = None,
        *,
        claims: str | None = None,
        error: str | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.claims = claims
        self.error = error


@dataclass(frozen=True, slots=True)
class RefusalAnswer:
    """What goes over the wire."""

    status: int
    body: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)


def say_refusal(
    refused: Refused, *, now: float, correlation_id: str | None = None
) -> RefusalAnswer:
    """Compose the answer as Entra words it.

    The description ends in trace id, correlation id and time, each on its own line (CR LF).
    """
    row = REFUSALS.get(refused.code) or SIGN_IN_REFUSALS[refused.code]
    trace_id, correlation_id = str(uuid.uuid4()), correlation_id or str(uuid.uuid4())
    timestamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    tail = f"\r\nTrace ID: {trace_id}\r\nCorrelation ID: {correlation_id}\r\nTimestamp: {timestamp}"
    body: dict[str, object] = {
        "error": refused.error or row.error,
        "error_description": f"AADSTS{refused.code}: {refused.text or row.text}{tail}",
        "error_codes": [refused.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"{ERROR_PAGE}{refused.code}",
    }
    if row.suberror:
        body["suberror"] = row.suberror
    if row.claims or refused.claims:
        body["claims"] = refused.claims or CONDITIONAL_ACCESS_CLAIMS
    headers = {"x-ms-request-id": trace_id}
    if row.retry_after_s is not None:
        headers["Retry-After"] = str(row.retry_after_s)
    return RefusalAnswer(row.status, body, headers)
