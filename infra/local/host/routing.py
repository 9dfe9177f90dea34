"""What the Functions host does with a request before a function sees it. Pure.

Owns routes, the maps of headers and query, and CORS: the rules that ``server.py`` names. Does *not*
speak HTTP or run functions.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

type Headers = list[tuple[str, str]]


class HostError(Exception):
    """The Function App cannot be served.

    The text is one sentence for the person who started the host.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


_CONSTRAINTS = {
    "int": r"[+-]?\d{1,10}",
    "long": r"[+-]?\d{1,19}",
    "alpha": r"[A-Za-z]+",
    "bool": r"true|false",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}
_PARAMETER = re.compile(
    r"\{(?P<star>\*{0,2})(?P<name>[^{}:=?]+)(?P<rules>(?::[^{}:=?]+)*)(?:=(?P<default>[^{}?]*))?(?P<optional>\?)?\}"
)


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP-triggered function and its address; ``methods`` None means any."""

    function_id: str
    function_name: str
    trigger: str
    methods: frozenset[str] | None
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    defaults: Mapping[str, str]
    rank: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the route parameters if ``path`` (decoded) belongs to this route, else None."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        given = {
            name: value for name, value in zip(self.names, found.groups(), strict=True) if value
        }
        return {**self.defaults, **given}


def compile_route(
    template: str,
) -> tuple[re.Pattern[str], tuple[str, ...], dict[str, str], tuple[int, ...]]:
    """Turn a template into a pattern, its parameter names, their defaults, and its rank.

    The template is an ASP.NET Core route template. The lower rank is tried first: at each segment a
    literal before a parameter before a catch-all. Errors: HostError for a constraint that is not
    known here.
    """
    pattern, names, defaults, rank = "", [], {}, []
    for segment in filter(None, template.split("/")):
        text, end, optional = "", 0, False
        for token in _PARAMETER.finditer(segment):
            name, rules = token["name"], [rule for rule in token["rules"].split(":") if rule]
            if unknown := [rule for rule in rules if rule not in _CONSTRAINTS]:
                raise HostError(
                    f"The route '{template}' uses the constraint '{unknown[0]}', which this "
                    "local host does not know."
                )
            value = ".*" if token["star"] else "[^/]+"
            names.append(name)
            if token["default"] is not None:
                defaults[name] = token["default"]
            checks = "".join(f"(?=(?:{_CONSTRAINTS[rule]})(?:/|$))" for rule in rules)
            text += re.escape(segment[end : token.start()]) + f"{checks}({value})"
            optional = (
                optional or bool(token["star"] or token["optional"]) or token["default"] is not None
            )
            end = token.end()
        text += re.escape(segment[end:])
        pattern += f"(?:/{text})?" if optional else f"/{text}"
        rank.append(0 if not end else 2 if "{*" in segment else 1)
    return re.compile(pattern + "/?", re.IGNORECASE), tuple(names), defaults, tuple(rank)


def decode_path(raw_path: bytes) -> str:
    """Decode the percent-encoding of a path except ``%2F``, which Kestrel leaves as it came."""
    return "%2F".join(unquote(piece) for piece in re.split("%2[fF]", raw_path.decode("ascii")))


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins from which a browser may call, as in ``Host.CORS``.

    ``*`` means any; an empty list means none.
    """

    origins: frozenset[str] = frozenset()
    credentials: bool = False

    def headers(self, origin: str | None) -> Headers:
        """Return the headers of an ordinary answer to ``origin``."""
        if origin is None or not self.origins & {origin, "*"}:
            return []
        if "*" in self.origins:
            return [("access-control-allow-origin", "*")]
        allow = [("access-control-allow-origin", origin), ("vary", "Origin")]
        return [*allow, ("access-control-allow-credentials", "true")] if self.credentials else allow

    def preflight(self, origin: str, method: str, headers: str | None) -> Answer:
        """Answer a browser's question.

        An origin that is not listed gets the same status and no permission.
        """
        allow = self.headers(origin)
        if allow:
            allow.append(("access-control-allow-methods", method))
            allow += [("access-control-allow-headers", headers)] if headers else []
        return Answer(204, allow)


def join_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the header map that a worker gets.

    Errors: UnicodeDecodeError for a value that is not UTF-8.
    """
    joined: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode()
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def join_query(query: bytes) -> dict[str, str]:
    """Return the query map that a worker gets.

    The first spelling of a name counts, and empty values are dropped.
    """
    spelling: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
        key = spelling.setdefault(name.lower(), name)
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return {name: value for name, value in joined.items() if value}
