"""The Graph client: what it puts on the wire, and what it reads from an answer.

How a call can fail beneath it: test_channel, test_transport_endings.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.entra.graph_token import GraphToken
from shared.graph.client import GraphClient, GraphRequest
from shared.graph.endings import GraphAnswer, NoAnswer, Seen
from shared.transport.channel import Answer, Channel, NotSent, Unanswered

ROOT = "https://graph.microsoft.com/v1.0"
TOKEN = GraphToken("oid", "tid", "a.graph.token")


@dataclass(frozen=True)
class Sent:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    connect_s: float
    total_s: float

    @property
    def url(self) -> str:
        return f"https://graph.microsoft.com{self.target}"


class Wire(Channel):
    """Stands where a request would leave for the network: keeps it, and answers what it is told, or
    fails.
    """

    def __init__(self) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error: Exception | None = None
        self.sent: list[Sent] = []
        self.fresh = False
        self.echo: str | None = None

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        connect_s: float,
        total_s: float,
        limit_bytes: int,
        fresh: bool = False,
        echo: str | None = None,
    ) -> Answer:
        self.fresh, self.echo = fresh, echo
        self.sent.append(Sent(method, target, headers, body, connect_s, total_s))
        if self.error is not None:
            raise self.error
        return Answer(
            self.status,
            self.body[: limit_bytes + 1],
            {name.lower(): value for name, value in self.headers.items()},
        )


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def graph(wire: Wire) -> GraphClient:
    return GraphClient(wire, "/v1.0")


LOOK = GraphRequest("look", "GET", ("a",))


def cancel(
    graph: GraphClient, *segments: str, message: str = "Sorry.", timeout_s: float = 5.0
) -> Seen:
    request = GraphRequest(
        "cancel", "POST", segments or ("a",), body={"cancellationMessage": message}
    )
    return graph.call(request, TOKEN, call_id="r-0", timeout_s=timeout_s)


def look(graph: GraphClient) -> GraphAnswer:
    seen = graph.call(LOOK, TOKEN, call_id="r-0", timeout_s=5.0)
    assert isinstance(seen, GraphAnswer)
    return seen


# What goes out.


def test_the_documented_call_goes_out_as_documented(graph: GraphClient, wire: Wire) -> None:
    cancel(
        graph,
        "solutions",
        "bookingBusinesses",
        "Contosolunchdelivery@M365B489948.onmicrosoft.com",
        "appointments",
        "AAMkADKoAAA=",
        "cancel",
    )

    (sent,) = wire.sent
    assert sent.method == "POST"
    assert sent.url == (
        f"{ROOT}/solutions/bookingBusinesses/Contosolunchdelivery%40M365B489948.onmicrosoft.com/appointments/AAMkADKoAAA%3D/cancel"
    )
    assert json.loads(sent.body or b"") == {"cancellationMessage": "Sorry."}
    assert dict(sent.headers) == {
        "User-Agent": "bookings-cancel-facade/1",
        "Accept-Encoding": "gzip, deflate",
        "Accept": "application/json",
        "Authorization": "Bearer a.graph.token",
        "client-request-id": "r-0",
        "return-client-request-id": "true",
        "Content-Type": "application/json",
    }


def test_a_look_sends_no_body(graph: GraphClient, wire: Wire) -> None:
    look(graph)

    (sent,) = wire.sent
    assert (sent.method, sent.body) == ("GET", None)
    assert "Content-Type" not in sent.headers


@pytest.mark.parametrize(
    "message", ["Grüße, 您好 \U0001f5d3", "\r\n\t", '"}', "\u2028", "a" * 2000], ids=ascii
)
def test_a_message_goes_out_in_ascii_and_means_the_same(
    graph: GraphClient, wire: Wire, message: str
) -> None:
    cancel(graph, message=message)

    body = wire.sent[0].body
    assert isinstance(body, bytes)
    assert body.isascii()
    assert json.loads(body) == {"cancellationMessage": message}


segments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: text not in (".", "..")
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_segments=st.lists(segments, min_size=1, max_size=4))
def test_every_segment_goes_out_as_one_segment_and_decodes_to_itself(
    graph: GraphClient, wire: Wire, given_segments: list[str]
) -> None:
    cancel(graph, *given_segments)

    sent = wire.sent[-1].url
    url = urlsplit(sent)
    assert (url.scheme, url.netloc, url.query, url.fragment) == (
        "https",
        "graph.microsoft.com",
        "",
        "",
    )
    assert [
        unquote(segment, errors="strict") for segment in url.path.removeprefix("/v1.0/").split("/")
    ] == given_segments
    assert urllib3.util.parse_url(sent).request_uri == url.path  # what urllib3 makes of it


@pytest.mark.parametrize(("timeout_s", "connect_s"), [(7.0, 3.0), (3.0, 1.5), (0.3, 0.15)])
def test_a_time_out_bounds_connecting_and_the_whole(
    graph: GraphClient, wire: Wire, timeout_s: float, connect_s: float
) -> None:
    cancel(graph, timeout_s=timeout_s)
    assert (wire.sent[0].connect_s, wire.sent[0].total_s) == (connect_s, timeout_s)


def test_neither_the_token_nor_what_was_read_shows(graph: GraphClient, wire: Wire) -> None:
    wire.status, wire.body = 200, b'{"customerEmailAddress": "MARKER"}'
    assert "MARKER" not in repr(look(graph))
    assert "a.graph.token" not in repr(TOKEN)


# What is read.


def error(**members: object) -> bytes:
    return json.dumps({"error": members}).encode()


CODES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "outer": (error(code="ErrorAccessDenied", message="MARKER"), ("ErrorAccessDenied",)),
    "innerError": (
        error(code="UnknownError", innerError={"code": "ErrorItemNotFound"}),
        ("UnknownError", "ErrorItemNotFound"),
    ),
    "innererror": (
        error(code="a", innererror={"code": "b", "innererror": {"code": "c"}}),
        ("a", "b", "c"),
    ),
    "outer empty": (error(code="", message="", innerError={"code": "b"}), ("b",)),
    "outer absent": (error(innerError={"code": "b"}), ("b",)),
    "prose": (error(code="The mailbox jordan@contoso.com was not found"), ("other",)),
    "address": (error(code="jordan@contoso.com"), ("other",)),
    "number": (error(code=404), ("other",)),
    "long": (error(code="a" * 65), ("other",)),
    "at the limit": (error(code="a" * 64), ("a" * 64,)),
    "line break": (error(code="a\nb"), ("other",)),
    "ends in a line break": (error(code="a\n"), ("other",)),
    "inner is a text": (error(code="a", innerError="b"), ("a",)),
    "inner is a list": (error(code="a", innerError=[{"code": "b"}]), ("a",)),
    "error is a text": (b'{"error": "invalid_grant"}', ()),
    "no error": (b"{}", ()),
    "a list": (b'[{"error": {"code": "a"}}]', ()),
    "HTML": (b"<html>", ()),
    "nothing": (b"", ()),
}


@pytest.mark.parametrize(("body", "codes"), CODES.values(), ids=CODES.keys())
def test_codes_are_read_from_the_outside_in_and_prose_never_passes(
    graph: GraphClient, wire: Wire, body: bytes, codes: tuple[str, ...]
) -> None:
    wire.status, wire.body = 400, body
    assert look(graph).codes == codes
    assert look(graph).code == (codes[0] if codes else None)


def test_nested_codes_come_to_an_end(graph: GraphClient, wire: Wire) -> None:
    nested: dict[str, object] = {"code": "a"}
    for _ in range(50):
        nested = {"code": "a", "innerError": nested}
    wire.status, wire.body = 400, error(**nested)
    assert look(graph).codes == ("a",) * 5


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (None, None),
        ("7b2e1d0a-1111", "7b2e1d0a-1111"),
        ("a b", None),
        ("a\r\nb", None),
        ("", None),
        ("a" * 65, None),
        ("ä", None),
    ],
    ids=ascii,
)
def test_graphs_request_id_is_one_word(
    graph: GraphClient, wire: Wire, header: str | None, read: str | None
) -> None:
    wire.headers = {} if header is None else {"request-id": header}
    assert look(graph).request_id == read


def test_the_resource_of_a_success_is_kept_and_no_other_body(
    graph: GraphClient, wire: Wire
) -> None:
    wire.status, wire.body = 200, b'{"id": "a"}'
    assert look(graph).resource == {"id": "a"}
    for wire.status in (201, 202, 400, 404, 500):
        assert look(graph).resource is None


CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1600000000"},"x":{"value":"~~~???"}}}'
STANDARD = base64.b64encode(CLAIMS.encode()).decode()
URL_SAFE = base64.urlsafe_b64encode(CLAIMS.encode()).decode()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CHALLENGES: dict[str, tuple[str | None, str | None]] = {
    "as Graph sends it": (
        (
            'Bearer realm="", authorization_uri="https://a/b", client_id="c", '
            f'error="insufficient_claims", claims="{STANDARD}"'
        ),
        CLAIMS,
    ),
    "url-safe": (f'Bearer claims="{URL_SAFE}"', CLAIMS),
    "without padding": (f'Bearer claims="{STANDARD.rstrip("=")}"', CLAIMS),
    "the second challenge": (
        f'PoP realm="", Bearer error="insufficient_claims", claims="{STANDARD}"',
        CLAIMS,
    ),
    "spaced and in other letters": (f'bearer Error=x ,Claims = "{STANDARD}"', CLAIMS),
    "a tab": (f'Bearer claims=\t"{STANDARD}"', CLAIMS),
    "another parameter": (f'Bearer more_claims="{STANDARD}"', None),
    "spaced JSON": (f'Bearer claims="{b64(json.dumps(json.loads(CLAIMS), indent=1))}"', CLAIMS),
    "none": ('Bearer realm="", error="invalid_token"', None),
    "no header": (None, None),
    "not quoted": (f"Bearer claims={STANDARD}", None),
    "raw JSON": (f'Bearer claims="{CLAIMS}"', None),
    "no base64": ('Bearer claims="a"', None),
    "no JSON": (f'Bearer claims="{b64("access_token")}"', None),
    "no UTF-8": (f'Bearer claims="{base64.b64encode(bytes([255, 254])).decode()}"', None),
    "no object": (f'Bearer claims="{b64("[1]")}"', None),
    "empty": (f'Bearer claims="{b64("{}")}"', None),
    "too long": (f'Bearer claims="{b64(json.dumps({"a": "x" * 9000}))}"', None),
}


@pytest.mark.parametrize(("header", "claims"), CHALLENGES.values(), ids=CHALLENGES.keys())
@pytest.mark.parametrize("status", [401, 403])
def test_a_claims_challenge_is_read_as_minified_json(
    graph: GraphClient, wire: Wire, status: int, header: str | None, claims: str | None
) -> None:
    wire.status, wire.headers = status, {} if header is None else {"WWW-Authenticate": header}
    assert look(graph).claims == claims


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_other_answers_challenge_nobody(graph: GraphClient, wire: Wire, status: int) -> None:
    wire.status, wire.headers = status, {"WWW-Authenticate": f'Bearer claims="{STANDARD}"'}
    assert look(graph).claims is None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "innerError", "innererror"]) | st.text(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([200, 400, 401, 404, 429, 500]),
    body=st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_whatever_a_body_holds_it_is_reduced_to_words(
    graph: GraphClient, wire: Wire, status: int, body: bytes
) -> None:
    wire.status, wire.body = status, body
    seen = look(graph)

    assert len(seen.codes) <= 5
    assert all(
        code.isascii() and code.isprintable() and 1 <= len(code) <= 64 for code in seen.codes
    )
    assert seen.resource is None or status == 200


# What fails below.


@pytest.mark.parametrize(
    ("error", "sent"),
    [(NotSent("NewConnectionError"), False), (Unanswered("ReadTimeoutError"), True)],
)
def test_a_failure_is_an_ending_that_says_whether_it_was_sent(
    graph: GraphClient, wire: Wire, error: NotSent | Unanswered, sent: bool
) -> None:
    wire.error = error
    assert cancel(graph) == NoAnswer(sent=sent, cause=error.cause)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_fresh_connection_is_had_where_it_is_asked_for(
    graph: GraphClient, wire: Wire, fresh: bool
) -> None:
    graph.call(LOOK, TOKEN, call_id="r-0", timeout_s=9.0, fresh=fresh)
    assert wire.fresh is fresh


def test_the_answer_has_to_echo_the_id_of_its_call(graph: GraphClient, wire: Wire) -> None:
    graph.call(LOOK, TOKEN, call_id="r-0", timeout_s=9.0)
    assert wire.echo is not None
    assert wire.sent[0].headers[wire.echo] == "r-0"
