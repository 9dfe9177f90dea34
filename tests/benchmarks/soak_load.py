"""Who asks in a soak, for what, and over which wire.

Owns tokens, errands and a client that costs less than the service. Does *not* judge
(``soak_judge.py``) or measure (``soak.py``).
"""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from infra.local import seed
from infra.local.entra.keys import KeyRing, make_signing_key
from infra.local.entra.tokens import TokenMint
from tests.benchmarks.soak_judge import Errand
from tests.benchmarks.soak_script import (
    FATES,
    NEVER_WAS,
    SLOW,
    STANDS,
    any_fault,
    appointment_id,
    business_id,
    object_id,
)
from tests.integration.violations import Ids, Told

# The tokens of half of the users, as an hour of them in fast motion. The old one is still good for
# a while.
RENEWED_S, LIFE_S = 8.0, 20.0
CAPACITY = 20_000  # of the service's records
_NOWHERE = Ids("", "")
_KINDS = {
    "plain": 82.0,
    "key": 8,
    "never was": 3,
    "repeat": 3,
    "twice": 1.5,
    "key reused": 0.5,
    "bad token": 1,
    "bad body": 1,
}
_REMEMBERED = 2_000
# A key that the store has dropped is a new one. Between so many with a key lie half as many calls
# as it has room for.
_KEYED = 800
_TOLD_AGAIN = {"cancelled": "cancelled+", "not_found": "not_found+", "not_found?": "not_found?+"}


class Users:
    """People with tokens. Half of them keep theirs, the others renew it."""

    def __init__(self, number: int) -> None:
        self.keys = KeyRing()
        self._mint = TokenMint(time.time, self.keys)
        self._tokens: list[tuple[float, str]] = [(0.0, "")] * number
        self._forger = make_signing_key()

    def issue_for(self, authority_host: str) -> None:
        """Say at which address tokens are issued."""
        self._mint.base_url = authority_host

    def __len__(self) -> int:
        return len(self._tokens)

    def token(self, user: int) -> str:
        """Return a user's token of now."""
        renew_at, token = self._tokens[user]
        if time.time() >= renew_at:
            renews = user % 2 == 1
            token = self._mint.user_token(self._person(user), lifetime_s=LIFE_S if renews else 7200)
            self._tokens[user] = time.time() + (RENEWED_S if renews else 3600), token
        return token

    def bad_token(self, user: int, chance: random.Random) -> tuple[str | None, str]:
        """Return an Authorization header that must be refused, and the code of the refusal.

        None means no header at all.
        """
        who = self._person(user)
        match chance.randrange(6):
            case 0:
                return None, "missing_token"
            case 1:
                return "Bearer not.a.token", "invalid_token"
            case 2:
                return f"Bearer {self._mint.user_token(who, lifetime_s=-10)}", "invalid_token"
            case 3:
                return (
                    f"Bearer {self._mint.user_token(who, audience='https://graph.microsoft.com')}",
                    "invalid_token",
                )
            case 4:
                header = {"kid": self.keys.current.kid}
                forged = self._mint.user_token(who, header=header, key=self._forger)
                return f"Bearer {forged}", "invalid_token"
            case _:
                return (
                    f"Bearer {self._mint.user_token(who, scopes='User.Read')}",
                    "insufficient_scope",
                )

    @staticmethod
    def _person(user: int) -> seed.User:
        return seed.User(object_id(user), f"user{user}@contoso.com", f"User {user}")


class Script:
    """Makes errands up, one after the other.

    ``faults`` is the share of appointments that something befalls at Graph.

    The first ``slow`` ones take Graph a second each: sent at once, they make the service start
    every thread and connection that it may.
    """

    def __init__(self, users: Users, faults: float, chance: random.Random, slow: int = 0) -> None:
        self._slow = slow
        self._users = users
        self._faults = faults
        self._chance = chance
        self._again: deque[Errand] = deque()
        self._ended: deque[tuple[Errand, str]] = deque(maxlen=_REMEMBERED)
        self._keyed: deque[Errand] = deque(maxlen=_KEYED)
        self._appointments = 0
        self.made = 0

    def next(self) -> Errand:
        """Make the next errand."""
        self.made += 1
        if self.made <= self._slow:
            return self._errand("warm-up", SLOW)
        if self._again:
            return self._again.popleft()
        kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        if (kind == "repeat" and not self._ended) or (kind == "key reused" and not self._keyed):
            kind = "plain"
        match kind:
            case "never was":
                return self._errand(
                    kind, NEVER_WAS, key=self._chance.choice([None, self._new_key()])
                )
            case "repeat":
                return self._repeat()
            case "twice":
                one = replace(
                    self._errand(kind, STANDS),
                    says=frozenset({"cancelled", "cancelled+", "request_in_progress"}),
                    alone=False,
                )
                self._again.append(one)
                return one
            case "key reused":
                return self._key_reused()
            case "bad token":
                return self._bad_token()
            case "bad body":
                return self._bad_body()
            case _:
                letter = any_fault(self._chance) if self._chance.random() < self._faults else STANDS
                return self._errand(kind, letter, key=self._new_key() if kind == "key" else None)

    @property
    def _may_have_forgotten(self) -> bool:
        """Whether the store may have dropped records early; nothing is certain then any more."""
        return self.made > CAPACITY * 0.9

    def ended(self, errand: Errand, said: str) -> None:
        """Remember how an errand ended, for those who repeat one."""
        if errand.alone and said in _TOLD_AGAIN and said in errand.says:
            self._ended.append((errand, said))
            if errand.key is not None:
                self._keyed.append(errand)

    def _errand(
        self, kind: str, letter: str, *, key: str | None = None, user: int | None = None
    ) -> Errand:
        number = self._appointments
        self._appointments += 1
        user = self._chance.randrange(len(self._users)) if user is None else user
        ids = Ids(business_id(number), appointment_id(letter, number, user))
        members = {"businessId": ids.business_id, "appointmentId": ids.appointment_id}
        if self._chance.random() < 0.3:
            members["cancellationMessage"] = "We are sorry: the studio is closed on that day."
        says = {FATES[letter].says}
        if letter == NEVER_WAS and self._may_have_forgotten:
            says.add("not_found?")
        return Errand(
            kind,
            ids,
            letter,
            number,
            user,
            frozenset(says),
            json.dumps(members).encode(),
            self._headers(user, key),
            key,
        )

    def _headers(self, user: int, key: str | None) -> Mapping[str, str]:
        headers = {
            "Authorization": f"Bearer {self._users.token(user)}",
            "Content-Type": "application/json",
        }
        return headers if key is None else {**headers, "Idempotency-Key": key}

    def _new_key(self) -> str:
        return f"soak-{self._appointments}"

    def _repeat(self) -> Errand:
        before, said = self._chance.choice(self._ended)
        again = _TOLD_AGAIN[said] if before.key is not None or said == "cancelled" else said
        headers = self._headers(before.user, before.key)
        says = {again}
        if again == "not_found" and self._may_have_forgotten:
            says.add("not_found?")
        return replace(before, kind="repeat", says=frozenset(says), headers=headers, alone=False)

    def _key_reused(self) -> Errand:
        before = self._chance.choice(self._keyed)
        other = self._errand("key reused", STANDS, key=before.key, user=before.user)
        return replace(other, says=frozenset({"idempotency_key_reused"}))

    def _bad_token(self) -> Errand:
        errand = self._errand("bad token", STANDS)
        authorization, code = self._users.bad_token(errand.user, self._chance)
        headers = {name: value for name, value in errand.headers.items() if name != "Authorization"}
        if authorization is not None:
            headers["Authorization"] = authorization
        return replace(errand, says=frozenset({code}), headers=headers)

    def _bad_body(self) -> Errand:
        errand = self._errand("bad body", STANDS)
        match self._chance.randrange(5):
            case 0:
                return replace(errand, says=frozenset({"invalid_request"}), body=errand.body[:-1])
            case 1:
                return replace(
                    errand,
                    says=frozenset({"invalid_request"}),
                    body=b'{"businessId": "a@contoso.com", "force": true}',
                )
            case 2:
                return replace(
                    errand,
                    says=frozenset({"invalid_request"}),
                    body=errand.body.replace(b"@", b"\\u0007"),
                )
            case 3:
                return replace(
                    errand,
                    says=frozenset({"unsupported_media_type"}),
                    headers={**errand.headers, "Content-Type": "text/plain"},
                )
            case _:
                return replace(
                    errand, says=frozenset({"payload_too_large"}), body=errand.body + b" " * 66_000
                )


class Line:
    """One connection to the service that is kept alive; for one task.

    Errors: OSError and EOFError where no answer comes; the next call connects anew.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, errand: Errand) -> Told:
        """Send one request and read its answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = [f"{name}: {value}\r\n" for name, value in errand.headers.items()]
        first = "POST /api/v1/cancel-appointment HTTP/1.1\r\nHost: localhost\r\n"
        asked_at = time.time()
        try:
            writer.write(
                f"{first}{''.join(head)}Content-Length: {len(errand.body)}\r\n\r\n".encode()
                + errand.body
            )
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in lines[1:] if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            self.close()
            raise
        status = int(lines[0].split(" ")[1])
        return Told(
            object_id(errand.user),
            errand.ids,
            errand.key,
            status,
            headers,
            body,
            asked_at,
            time.time(),
            stands=False,
        )

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
