"""Entity group transactions of Azure Tables: several writes to one partition, all or none.

Owns the client that sends them. Azure's own says what each write looks like, how a request is
signed, and how a read is answered. Its way to pack writes together starts three pools of threads
and passes everything through a parser of mail: ten times the CPU of all the rest. Does *not* know
records.
"""

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from azure.core.pipeline import policies
from azure.core.rest import HttpRequest
from azure.data.tables import TableClient

# What azure-core does besides, and what is done elsewhere or not at all here: spans, logs, proxies,
# redirects, ids of requests.
_LEFT_OUT = (
    policies.CustomHookPolicy,
    policies.DistributedTracingPolicy,
    policies.HttpLoggingPolicy,
    policies.NetworkTraceLoggingPolicy,
    policies.ProxyPolicy,
    policies.RedirectPolicy,
    policies.RequestIdPolicy,
    policies.UserAgentPolicy,
)
_PART = re.compile(
    rb"^HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n([^\r\n]*)", re.MULTILINE
)
_ETAG = re.compile(rb"^etag: *([^\r\n]+)\r\n", re.MULTILINE | re.IGNORECASE)


class TransactionRefused(Exception):
    """The table has said no to one of the writes, or to all.

    None has had an effect, unless ``status`` says that this is not known. ``code`` is the table's
    word for it.
    """

    def __init__(self, status: int, code: str | None) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


class TransactingClient(TableClient):
    """Azure's client, which sends transactions at the cost of one request."""

    def _configure_policies(self, **options: Any) -> list[Any]:
        every = super()._configure_policies(**options)
        return [policy for policy in every if not isinstance(policy, _LEFT_OUT)]

    def _batch_send(
        self, table_name: str, *reqs: HttpRequest, **options: Any
    ) -> list[Mapping[str, Any]]:
        """Send writes as one. Errors: TransactionRefused; ValueError for an answer that is none."""
        del table_name
        boundary = secrets.token_hex(16)
        request = HttpRequest(
            "POST",
            f"{self.scheme}://{self._primary_hostname}/$batch",
            headers={
                "x-ms-version": self.api_version,
                "DataServiceVersion": "3.0",
                "MaxDataServiceVersion": "3.0;NetFx",
                "Content-Type": f"multipart/mixed; boundary=batch_{boundary}",
                "Accept": "application/json",
            },
            content=_pack(reqs, boundary),
        )
        response: Any = self._client.send_request(request, stream=True, **options)
        body: bytes = response.body()
        if response.status_code != 202:
            raise TransactionRefused(response.status_code, _code(body))
        return _unpack(body, len(reqs))


def _pack(writes: tuple[HttpRequest, ...], boundary: str) -> bytes:
    lines = [
        f"--batch_{boundary}",
        f"Content-Type: multipart/mixed; boundary=changeset_{boundary}",
        "",
    ]
    for number, write in enumerate(writes):
        content: Any = write.content or ""
        lines += [
            f"--changeset_{boundary}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            f"{write.method} {write.url} HTTP/1.1",
            *(f"{name}: {value}" for name, value in write.headers.items()),
            "",
            content.decode() if isinstance(content, bytes) else content,
        ]
    lines += [f"--changeset_{boundary}--", "", f"--batch_{boundary}--", ""]
    return "\r\n".join(lines).encode()


def _unpack(body: bytes, count: int) -> list[Mapping[str, Any]]:
    """Return what is told of each write: its new ETag, if it has one."""
    parts = _PART.findall(body)
    for status, _, content in parts:
        if not 200 <= int(status) < 300:
            raise TransactionRefused(int(status), _code(content))
    if len(parts) != count:
        raise ValueError("the table has not answered each write")
    etags = [_ETAG.search(head) for _, head, _ in parts]
    return [{"etag": etag[1].decode()} if etag else {} for etag in etags]


def _code(body: bytes) -> str | None:
    try:
        return str(json.loads(body)["odata.error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None
