"""Callers that were proved before: a token's signature is checked once, not with every request.

Owns what is remembered of a validated token, and for how long. Does *not* validate (``caller.py``)
or hold keys (``signing_keys.py``).

A proof is found by the SHA-256 of the whole token, so only that very token finds it. A token that
differs in a single character of its signature is a stranger. A proof holds until the token ends,
and only while Entra lists the very key that signed the token. After a rotation the token is checked
anew and refused like any other. What Entra or Graph say of a token later (revoked, more proof
needed) never comes from here.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Protocol

from cachetools import TLRUCache

from shared.identity.caller import Caller, CallerRules, authenticate
from shared.identity.key_sets import SigningKey


class KeyRing(Protocol):
    """Where published signing keys come from; see ``SigningKeys``."""

    def find(
        self, tenant_id: str, version: str, kid: str, issued_s_ago: float = math.inf
    ) -> SigningKey:
        """Return the key, and fetch the list first if that is due.

        Errors: TokenRejected, UpstreamUnavailable.
        """
        ...

    def known(self, tenant_id: str, version: str, kid: str) -> SigningKey | None:
        """Return the key if the list that is held has it; waits for nobody."""
        ...

    def warm(self, tenant_id: str, version: str) -> None:
        """Start loading the keys in the background; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class _Proof:
    """What was proved at ``proved_at`` (epoch seconds).

    The caller's assertion is left out, so no token is kept here.
    """

    caller: Caller
    proved_at: float
    key: SigningKey
    listed_for: tuple[str, str]


class _Witness:
    """Hands out keys and remembers the last one, which proved the token."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.seen: tuple[SigningKey, tuple[str, str]] | None = None

    def find(
        self, tenant_id: str, version: str, kid: str, issued_s_ago: float = math.inf
    ) -> SigningKey:
        key = self._keys.find(tenant_id, version, kid, issued_s_ago)
        self.seen = key, (tenant_id, version)
        return key


@dataclass(slots=True)
class ProvedCallers:
    """Proves callers; one instance per worker, safe for all threads.

    ``now`` gives seconds since the epoch.
    """

    rules: CallerRules
    keys: KeyRing
    now: Callable[[], float]
    capacity: int = 20_000
    _lock: Lock = field(init=False, repr=False, default_factory=Lock)
    _proofs: "TLRUCache[bytes, _Proof]" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._proofs = TLRUCache(self.capacity, ttu=_end_of, timer=self.now)

    def prove(self, token: str) -> Caller:
        """Return the caller. Errors: those of ``authenticate``."""
        known = self.recall(token)
        if known is not None:
            return known
        witness = _Witness(self.keys)
        proved_at = self.now()
        caller = authenticate(token, self.rules, witness, self.now)
        if witness.seen is not None:
            proof = _Proof(replace(caller, assertion=""), proved_at, *witness.seen)
            with self._lock:
                self._proofs[_name(token)] = proof
        return caller

    def recall(self, token: str) -> Caller | None:
        """Return the caller if this token was proved before and the proof still holds, else None.

        Asks nobody and waits for nobody.
        """
        name = _name(token)
        with self._lock:
            proof = self._proofs.get(name)
        if proof is None:
            return None
        caller = proof.caller
        # If the clock was set back, the token is checked again: it may not be valid yet.
        if not proof.proved_at <= self.now() < caller.expires_at:
            return None
        if self.keys.known(*proof.listed_for, proof.key.kid) != proof.key:
            return None
        return Caller(
            caller.tenant_id,
            caller.object_id,
            caller.client_id,
            caller.expires_at,
            caller.can_answer_challenges,
            token,
        )


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _end_of(_name: bytes, proof: _Proof, _now: float) -> float:
    return proof.caller.expires_at
