"""A worker starts with what its first cancel needs, and with nothing else."""

import gc
import json
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from shared.services import build_services
from shared.transport import connections
from shared.transport.connections import open_trust

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "TENANT_ID": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
    "CLIENT_ID": "6731de76-14a6-49ae-97bc-6eba6914391e",
    "CLIENT_SECRET": "secret",
}

# What only other routes, other settings or other credentials need; a tenth of a second and more in
# all.
LATE = (
    *("list_bookings.operation", "cancel_appointment.webhook_operation"),
    *(
        "shared.entra.app_only",
        "shared.identity.webhooks",
        "shared.entra.certificate",
        "shared.records.table_store",
        "shared.telemetry.exporters",
        "shared.telemetry.sampling",
        "shared.telemetry.spans",
        "shared.instrumented",
    ),
    *("jwt", "cryptography.x509", "standardwebhooks", "azure.data", "azure.core", "opentelemetry"),
)
STARTED = """
import gc, json, sys
import function_app
found = {"collects": gc.isenabled(), "frozen": gc.get_freeze_count()}
print(json.dumps({"modules": sorted(sys.modules), **found}))
"""


def test_a_worker_starts_without_what_its_first_cancel_does_not_need() -> None:
    run = subprocess.run(
        [sys.executable, "-c", STARTED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    started = json.loads(run.stdout)

    assert (
        "cancel_appointment.operation" in started["modules"]
    )  # what every request needs is not left to the first request
    assert not set(LATE) & set(started["modules"])
    assert started["collects"], "the garbage collector stays off"
    assert started["frozen"] > 50_000


def test_the_roots_are_loaded_once_for_both_upstreams(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ssl.SSLContext] = []

    def counted(ca_bundle: Path | None) -> ssl.SSLContext:
        opened.append(open_trust(ca_bundle))
        return opened[-1]

    monkeypatch.setattr(connections, "open_trust", counted)
    monkeypatch.setattr("shared.services.open_trust", counted)
    services = build_services(ENVIRONMENT)
    services.threads.shutdown()
    services.doorkeepers.shutdown()

    assert len(opened) == 1


def system(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    in_file: int,
    in_folder: int,
    chosen: bool = False,
) -> None:
    """Let the system keep so many roots in a file, and so many in a folder."""
    (folder / "roots.pem").write_text("-----BEGIN CERTIFICATE-----\n" * in_file)
    hashed = folder / "roots"
    hashed.mkdir()
    (hashed / "a-name.pem").touch()
    for number in range(in_folder):
        (hashed / f"{number:08x}.0").touch()
    paths = SimpleNamespace(
        cafile=str(folder / "roots.pem"),
        capath=str(hashed),
        openssl_cafile="elsewhere.pem" if chosen else str(folder / "roots.pem"),
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


@pytest.mark.parametrize(
    ("roots", "taken"),
    [
        pytest.param({"in_file": 3, "in_folder": 3}, True, id="both-the-same"),
        pytest.param({"in_file": 3, "in_folder": 4}, True, id="the-folder-has-more"),
        pytest.param({"in_file": 3, "in_folder": 2}, False, id="the-folder-lacks-one"),
        pytest.param({"in_file": 0, "in_folder": 0}, False, id="none-at-all"),
        pytest.param(
            {"in_file": 1, "in_folder": 3, "chosen": True},
            False,
            id="the-operator-has-chosen-a-file",
        ),
    ],
)
def test_the_folder_of_roots_is_taken_only_where_it_holds_what_the_file_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: dict[str, Any], taken: bool
) -> None:
    system(monkeypatch, tmp_path, **roots)
    assert connections._folder_of_roots() == (str(tmp_path / "roots") if taken else None)


def test_a_system_without_a_file_or_a_folder_is_left_to_openssl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "nowhere")
    for cafile, capath in ((None, nowhere), (nowhere, None), (nowhere, nowhere)):
        monkeypatch.setattr(
            ssl,
            "get_default_verify_paths",
            lambda cafile=cafile, capath=capath: SimpleNamespace(
                cafile=cafile, capath=capath, openssl_cafile=cafile
            ),
        )
        assert connections._folder_of_roots() is None


def test_whichever_way_the_roots_come_every_certificate_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system(monkeypatch, tmp_path, in_file=1, in_folder=1)
    trust = open_trust(None)

    assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trust.minimum_version is ssl.TLSVersion.TLSv1_2
    assert trust.get_ca_certs() == []  # read when they are needed


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl tells under which name a root is looked for"
)
@pytest.mark.parametrize("known", [True, False], ids=["a-root-of-the-folder", "another-root"])
def test_a_peer_is_trusted_by_the_roots_of_the_folder_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool
) -> None:
    system(monkeypatch, tmp_path, in_file=1, in_folder=1)
    authority, stranger = trustme.CA(), trustme.CA(organization_name="stranger")
    authority.cert_pem.write_to_path(tmp_path / "root.pem")
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", tmp_path / "root.pem"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    authority.cert_pem.write_to_path(tmp_path / "roots" / f"{told.stdout.strip()}.0")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (authority if known else stranger).issue_cert("graph.example").configure_cert(server)

    if known:
        shake_hands(open_trust(None), server)
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(open_trust(None), server)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Let the two agree on a handshake, in memory. Errors: those of the side that does not."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="graph.example"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends


def test_importing_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
