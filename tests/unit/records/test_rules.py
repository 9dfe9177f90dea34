"""What a record means: what a request meets, what it leaves, and who may end a claim."""

import hashlib

import pytest

from shared.records.rules import (
    POLL_HINT_S,
    Claim,
    Doubt,
    End,
    Finished,
    Free,
    Granted,
    Mismatch,
    Record,
    Removed,
    Replay,
    Running,
    State,
    Verdict,
    Wanted,
    end_records,
    judge,
    new_records,
    require_hashes,
    settle,
)

NOW = 1_000.0
NATURE, KEY = Wanted("nature", ""), Wanted("key", "f")


def record(
    state: State,
    fingerprint: str = "f",
    *,
    lease_until: float = NOW,
    expires_at: float = NOW + 100,
    owner: str = "me",
    payload: str = "",
) -> Record:
    return Record(state, owner, fingerprint, lease_until, expires_at, payload)


def nature(state: State, *, lease_until: float = NOW, payload: str = "") -> Record:
    return record(state, "", lease_until=lease_until, payload=payload)


@pytest.mark.parametrize(
    ("found", "fingerprint", "verdict"),
    [
        pytest.param(None, "f", Free(doubt=False), id="absent"),
        pytest.param(
            record(State.FINISHED, expires_at=NOW),
            "f",
            Free(doubt=False),
            id="finished, over its keep",
        ),
        pytest.param(
            record(State.DOUBT, expires_at=NOW),
            "f",
            Free(doubt=False),
            id="in doubt, over its keep",
        ),
        pytest.param(
            record(State.DOUBT, expires_at=NOW),
            "g",
            Free(doubt=False),
            id="over its keep, another fingerprint",
        ),
        pytest.param(record(State.FINISHED, payload="p"), "f", Replay("p"), id="finished"),
        pytest.param(
            record(State.FINISHED, payload="p"), "g", Mismatch(), id="finished, another fingerprint"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 30), "f", Running(POLL_HINT_S), id="running"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 0.25),
            "f",
            Running(0.25),
            id="running, lease nearly over",
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 30),
            "g",
            Mismatch(),
            id="running, another fingerprint",
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW), "f", Free(doubt=True), id="running, lease over"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW),
            "g",
            Mismatch(),
            id="lease over, another fingerprint",
        ),
        pytest.param(record(State.DOUBT), "f", Free(doubt=True), id="in doubt"),
        pytest.param(record(State.DOUBT), "g", Mismatch(), id="in doubt, another fingerprint"),
    ],
)
def test_what_a_request_meets(found: Record | None, fingerprint: str, verdict: Verdict) -> None:
    assert judge([found], [Wanted("key", fingerprint)], NOW) == verdict


CLAIM = Claim("caller", (KEY,), "me")
OPEN, DONE = True, False  # whether there is something to write; None where it is lost


@pytest.mark.parametrize(
    ("found", "aim", "left"),
    [
        pytest.param(
            record(State.RUNNING),
            record(State.FINISHED),
            OPEN,
            id="ours and running, complete",
        ),
        pytest.param(record(State.RUNNING), None, OPEN, id="ours and running, remove"),
        pytest.param(
            record(State.RUNNING, owner="other"),
            record(State.FINISHED),
            None,
            id="taken over, complete",
        ),
        pytest.param(record(State.RUNNING, owner="other"), None, None, id="taken over, remove"),
        pytest.param(
            record(State.FINISHED, owner="other", payload="p"),
            record(State.FINISHED, payload="p"),
            None,
            id="another said the same",
        ),
        pytest.param(
            record(State.FINISHED, payload="p"),
            record(State.FINISHED, payload="p"),
            DONE,
            id="completed already",
        ),
        pytest.param(
            record(State.FINISHED, payload="p"),
            record(State.FINISHED, payload="q"),
            None,
            id="completed otherwise",
        ),
        pytest.param(record(State.FINISHED), None, None, id="remove after complete"),
        pytest.param(record(State.FINISHED), record(State.DOUBT), None, id="doubt after complete"),
        pytest.param(record(State.DOUBT), record(State.DOUBT), DONE, id="in doubt already"),
        pytest.param(
            record(State.DOUBT),
            record(State.FINISHED),
            None,
            id="complete after giving up",
        ),
        pytest.param(None, None, DONE, id="removed already"),
        pytest.param(None, record(State.FINISHED), None, id="gone, complete"),
    ],
)
def test_what_settling_a_claim_meets(
    found: Record | None, aim: Record | None, left: bool | None
) -> None:
    expected = None if left is None else {"key": aim} if left else {}
    assert settle(CLAIM, [found], [aim]) == expected


def test_one_record_that_is_lost_leaves_nothing_to_write() -> None:
    claim = Claim("caller", (NATURE, KEY), "me")
    lost, ours = record(State.RUNNING, owner="other"), record(State.RUNNING)
    aims = [record(State.FINISHED), record(State.FINISHED)]
    assert settle(claim, [lost, ours], aims) is None
    assert settle(claim, [ours, lost], aims) is None
    assert settle(claim, [ours, ours], aims) == {"nature": aims[0], "key": aims[1]}
    assert settle(claim, [None, ours], [None, aims[1]]) == {"key": aims[1]}


@pytest.mark.parametrize(
    ("by_nature", "by_key", "verdict"),
    [
        pytest.param(None, None, Free(doubt=False), id="new"),
        pytest.param(
            nature(State.FINISHED, payload="n"),
            record(State.FINISHED, "g", payload="k"),
            Mismatch(),
            id="another body goes before all else",
        ),
        pytest.param(
            nature(State.RUNNING, lease_until=NOW + 9),
            record(State.RUNNING, "g", lease_until=NOW + 9),
            Mismatch(),
            id="another body goes before a running one",
        ),
        pytest.param(
            nature(State.FINISHED, payload="n"),
            record(State.FINISHED, payload="k"),
            Replay("k"),
            id="the key's answer goes before the one by nature",
        ),
        pytest.param(
            nature(State.FINISHED, payload="n"),
            record(State.RUNNING, lease_until=NOW + 9),
            Replay("n"),
            id="an answer goes before a running one",
        ),
        pytest.param(
            nature(State.RUNNING, lease_until=NOW + 0.25),
            record(State.RUNNING, lease_until=NOW + 0.5),
            Running(0.5),
            id="running until the later lease is over",
        ),
        pytest.param(nature(State.DOUBT), None, Free(doubt=True), id="in doubt by nature"),
        pytest.param(None, record(State.DOUBT), Free(doubt=True), id="in doubt by key"),
        pytest.param(
            nature(State.DOUBT),
            record(State.RUNNING, lease_until=NOW + 0.5),
            Running(0.5),
            id="a running key goes before a doubt",
        ),
    ],
)
def test_two_records_are_judged_together(
    by_nature: Record | None, by_key: Record | None, verdict: Verdict
) -> None:
    assert judge([by_nature, by_key], [NATURE, KEY], NOW) == verdict


def left(met: Verdict, *found: Record | None) -> dict[str, Record]:
    return new_records(met, "me", [NATURE, KEY], found, NOW, lease_s=10, keep_s=50)


def test_a_claim_takes_all_records_and_shortens_no_life() -> None:
    doubt = record(State.DOUBT, expires_at=NOW + 900)
    claimed = left(Free(doubt=True), None, doubt)
    assert {key: (one.state, one.lease_until, one.expires_at) for key, one in claimed.items()} == {
        "nature": (State.RUNNING, NOW + 10, NOW + 50),
        "key": (State.RUNNING, NOW + 10, NOW + 900),
    }
    assert [one.fingerprint for one in claimed.values()] == ["", "f"]


def test_a_lease_is_never_longer_than_the_life_of_its_record() -> None:
    (claimed, _) = new_records(
        Free(doubt=False), "me", [NATURE, KEY], [None, None], NOW, lease_s=90, keep_s=50
    ).values()
    assert claimed.expires_at == NOW + 90


@pytest.mark.parametrize(
    ("by_nature", "by_key", "repeated"),
    [
        pytest.param(nature(State.FINISHED, payload="p"), None, True, id="none by key"),
        pytest.param(
            nature(State.FINISHED, payload="p"), record(State.DOUBT), True, id="a doubt by key"
        ),
        pytest.param(
            nature(State.FINISHED, payload="p"), record(State.RUNNING), True, id="a dead worker's"
        ),
        pytest.param(
            nature(State.FINISHED, payload="p"),
            record(State.RUNNING, lease_until=NOW + 9),
            False,
            id="somebody works on it",
        ),
        pytest.param(
            nature(State.FINISHED, payload="p"),
            record(State.FINISHED, payload="q"),
            False,
            id="the key has its own",
        ),
        pytest.param(
            None, record(State.FINISHED, payload="p"), False, id="by nature nothing is copied"
        ),
    ],
)
def test_a_replay_by_nature_is_left_under_the_key(
    by_nature: Record | None, by_key: Record | None, *, repeated: bool
) -> None:
    kept = left(Replay("p"), by_nature, by_key)
    assert set(kept) == ({"key"} if repeated else set())
    assert all(
        (one.state, one.payload, one.fingerprint, one.expires_at)
        == (State.FINISHED, "p", "f", NOW + 50)
        for one in kept.values()
    )


@pytest.mark.parametrize("met", [Mismatch(), Running(1.0)])
def test_nothing_is_left_by_who_is_sent_away(met: Verdict) -> None:
    assert left(met, nature(State.FINISHED), record(State.DOUBT, "g")) == {}


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (Finished("p"), (State.FINISHED, NOW + 5, "p")),
        (Doubt(), (State.DOUBT, NOW + 90, "")),
        (Removed(), None),
    ],
)
def test_what_a_claim_ends_with(end: End, kept: object) -> None:
    claim = Claim("caller", (KEY,), "me", (NOW + 90,))
    (one,) = end_records(claim, [end], NOW, keep_s=5)
    assert (one and (one.state, one.expires_at, one.payload)) == kept


def test_owner_and_payload_hide_in_repr() -> None:
    claim = Claim("caller", (KEY,), "SECRET", (NOW,), ("SECRET",))
    finished = record(State.FINISHED, owner="SECRET", payload="SECRET")
    shown = repr([Granted(claim, doubt=False), Replay("SECRET"), Finished("SECRET"), finished])
    assert "SECRET" not in shown


HASH = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("text", ["", "a@b.example", HASH.upper(), HASH[:-1], HASH + "0", "g" * 64])
def test_what_is_no_hash_is_refused(text: str) -> None:
    require_hashes(HASH, [Wanted(HASH, "anything")])
    for caller, key in ((text, HASH), (HASH, text)):
        with pytest.raises(ValueError, match="SHA-256"):
            require_hashes(caller, [Wanted(key, "f")])
