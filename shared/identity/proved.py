"""Callers that were proved before: a token's signature is checked once, not with every request.

Owns what is remembered of a validated token, and for how long. Does *not* validate (``caller.py``)
or hold keys (``signing_keys.py``).

A proof is found by the SHA-256 of the whole token, so only that very token finds it. A token that
differs in a single character of its signature is a stranger. A proof holds until the token ends,
and only while Entra lists the very key that signed the token. After a rotation the token is checked
anew and refused like any other. What Entra or Graph say of a token later (revoked, more proof
needed) never comes from here.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from cachetools import TLRUCache

from shared.identity.caller import Caller, CallerRules, Proof, authenticate, fingerprint
from shared.identity.signing_keys import SigningKeys


class ProvedCallers:
    """Proves callers; one instance per worker, safe for all threads.

    ``now`` gives seconds since the epoch.
    """

    def __init__(
        self,
        rules: CallerRules,
        keys: SigningKeys,
        now: Callable[[], float],
        capacity: int = 20_000,
    ) -> None:
        self.keys = keys
        self._rules = rules
        self._now = now
        self._lock = Lock()
        # Proofs of tokens that have ended go by themselves: renewed tokens leave nothing behind.
        self._proofs: TLRUCache[bytes, Proof] = TLRUCache(
            capacity, ttu=lambda _name, proof, _now: proof.caller.expires_at, timer=now
        )

    def prove(self, token: str) -> Caller:
        """Return the caller. Errors: those of ``authenticate``."""
        known = self.recall(token)
        if known is not None:
            return known
        proof = authenticate(token, self._rules, self.keys, self._now)
        kept = replace(proof, caller=replace(proof.caller, assertion=""))  # no token is kept here
        with self._lock:
            self._proofs[kept.caller.fingerprint] = kept
        return proof.caller

    def recall(self, token: str) -> Caller | None:
        """Return the caller if this token was proved before and the proof still holds, else None.

        Asks nobody and waits for nobody.
        """
        name = fingerprint(token)
        with self._lock:
            proof = self._proofs.get(name)
        if proof is None:
            return None
        caller = proof.caller
        # If the clock was set back, the token is checked again: it may not be valid yet.
        if not proof.proved_at <= self._now() < caller.expires_at:
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
            name,
        )
