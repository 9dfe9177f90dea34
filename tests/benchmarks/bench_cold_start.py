"""What a new process costs until its first answer.

Beside this service: a process that only imports what such an app is made of, and the same job done
otherwise.

Run it with ``python -m tests.benchmarks cold_start``; ``python -m
tests.benchmarks.bench_cold_start`` shows where the time of importing goes instead.

Every sample is a new process with a user, an appointment and a connection that it has not seen. All
subjects take turns, in mixed order. Time ends with the answer. CPU is that of the process, with all
its threads. The simulators are in another process. Then the same is measured through the official
runtime over HTTP, from a new host to its first answer. There are three apps: ours by default, ours
as deployed (Azurite, a sink for Azure Monitor), and one that imports the same packages and answers
200.

This project does not depend on azure-identity and msgraph-sdk. They are installed once, in
``.local/bench/sdk``; where that fails, they are left out.
"""

import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import certifi
import requests

from infra.local import seed
from infra.local.host.process import HostProcess
from tests.benchmarks import Figure, figure
from tests.benchmarks.bench_deployed import DEFAULT, DEPLOYED, configurations
from tests.benchmarks.bench_stores import Upstreams, appointment_id, upstreams

ROUNDS, HOST_ROUNDS = 12, 10
REPOSITORY = Path(__file__).resolve().parents[2]
SUBJECTS = Path(__file__).with_name("starts")
SDK_FOLDER = REPOSITORY / ".local" / "bench" / "sdk"
SDK_REQUIREMENTS = (
    "azure-identity==1.27.0",
    "msgraph-sdk==1.65.0",
    "azure-functions==2.3.0",
    "pydantic==2.14.3",
)
BARE, MODEL, OURS, USUAL, SDK = (
    "bare imports",
    "bare imports and one model",
    "ours",
    "usual sample (msal + requests)",
    "azure-identity + msgraph-sdk",
)
TRIVIAL = """
import azure.functions as func
import msal, pydantic, requests

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route("v1/cancel-appointment", methods=["POST"])
async def answer(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("{}", mimetype="application/json")
"""
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one subject, in milliseconds: from the start of the process to its answer."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def environment_of_its_own() -> Path | None:
    """Return the interpreter that has azure-identity and msgraph-sdk; None where there can be none.

    The first call makes its environment.
    """
    interpreter, made_of = SDK_FOLDER / "bin" / "python", SDK_FOLDER / "made-of"
    wanted = hashlib.sha256("\n".join((sys.version, *SDK_REQUIREMENTS)).encode()).hexdigest()
    if made_of.is_file() and made_of.read_text() == wanted:
        return interpreter
    _say(
        f"installing {' and '.join(SDK_REQUIREMENTS[:2])} in "
        f"{SDK_FOLDER.relative_to(REPOSITORY)}, once ..."
    )
    try:
        venv.create(SDK_FOLDER, clear=True, with_pip=True)
        subprocess.run(
            [interpreter, "-m", "pip", "install", "-qq", *SDK_REQUIREMENTS], check=True, timeout=600
        )
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"without {SDK}: it could not be installed ({type(error).__name__}).")
        return None
    made_of.write_text(wanted)
    return interpreter


def start(
    interpreter: Path,
    subject: str,
    behind: Upstreams,
    bundle: Path,
    number: int,
    samples: Samples | None,
) -> None:
    """Run a subject with an appointment of its own, and see that it did its job.

    Its time is taken if it counts.
    """
    body = json.dumps({"businessId": seed.LUNCH_DELIVERY, "appointmentId": appointment_id(number)})
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        **behind.environment,
        "BUNDLE": str(bundle),
        "PYTHONPATH": str(REPOSITORY) if subject in ("ours", "model") else "",
        "ASKED": json.dumps({"token": behind.token, "body": body}),
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [interpreter, SUBJECTS / f"{subject}.py"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = process.stdout.readline()
    wall_s = time.perf_counter() - began
    process.stdout.close()
    _, process.returncode, used = os.wait4(process.pid, 0)
    answer = json.loads(told or "null")
    assert answer == {"status": 200} | (
        {"told": ["cancelled", True]} if subject == "ours" else {}
    ), (subject, answer)
    assert behind.stands(appointment_id(number)) is (subject in ("bare", "model")), subject
    if samples is not None:
        samples.wall.append(wall_s * 1000)
        samples.cpu.append((used.ru_utime + used.ru_stime) * 1000)


def start_host(
    app: Path,
    settings: Mapping[str, str],
    behind: Upstreams,
    number: int,
    samples: Samples | None,
) -> None:
    """Start the official runtime with an app, and ask it once.

    ``settings`` stand beside those of the simulators. CPU is that of the whole process, also while
    it ends.
    """
    body = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": appointment_id(number)}
    cpu, began = _cpu_of_children(), time.perf_counter()
    with HostProcess(app, {**behind.environment, **settings}) as host:
        headers = {"Authorization": f"Bearer {behind.token}"}
        answer = requests.post(
            f"{host.url}/api/v1/cancel-appointment", json=body, headers=headers, timeout=30
        )
        wall_s = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    assert app != REPOSITORY or answer.json()["outcome"] == "cancelled", answer.text
    if samples is not None:
        samples.wall.append(wall_s * 1000)
        samples.cpu.append((_cpu_of_children() - cpu) * 1000)


def measure() -> list[Figure]:
    """Measure new process to first answer, then new host to first answer over HTTP."""
    here, other = Path(sys.executable), environment_of_its_own()
    subjects = {
        BARE: (here, "bare"),
        MODEL: (here, "model"),
        OURS: (here, "ours"),
        USUAL: (here, "usual"),
        **({SDK: (other, "sdk")} if other else {}),
    }
    processes: dict[str, Samples] = {name: Samples() for name in subjects}
    hosts = {name: Samples() for name in ("trivial app", OURS, f"{OURS}, as deployed")}
    numbers = iter(range(1_000_000))
    with (
        tempfile.TemporaryDirectory() as folder,
        upstreams((ROUNDS + 1) * len(subjects) + (HOST_ROUNDS + 1) * len(hosts)) as behind,
        configurations() as configured,
    ):
        bundle = (
            Path(folder) / "bundle.pem"
        )  # what requests trusts by default, and the simulators besides
        bundle.write_text(
            Path(certifi.where()).read_text() + Path(behind.environment["CA_BUNDLE"]).read_text()
        )
        apps = {
            "trivial app": (Path(folder), configured[DEFAULT]),
            OURS: (REPOSITORY, configured[DEFAULT]),
            f"{OURS}, as deployed": (REPOSITORY, configured[DEPLOYED]),
        }
        (Path(folder) / "function_app.py").write_text(TRIVIAL)
        (Path(folder) / "host.json").write_text((REPOSITORY / "host.json").read_text())
        for turn in range(ROUNDS + 1):  # the first one writes .pyc files and warms the simulators
            for name in random.sample(list(subjects), len(subjects)):
                start(
                    *subjects[name],
                    behind,
                    bundle,
                    next(numbers),
                    processes[name] if turn else None,
                )
        for turn in range(HOST_ROUNDS + 1):
            for name in random.sample(list(hosts), len(hosts)):
                start_host(*apps[name], behind, next(numbers), hosts[name] if turn else None)
    return [
        *_compared("process to first answer", processes, BARE),
        *_compared("host to first answer", hosts, "trivial app"),
    ]


def _compared(what: str, found: Mapping[str, Samples], to: str) -> Iterator[Figure]:
    for unit in ("ms wall", "ms CPU"):
        told = {
            name: samples.wall if unit == "ms wall" else samples.cpu
            for name, samples in found.items()
        }
        reference = figure(f"cold start: {what}: {to}", unit, told[to])
        yield reference
        made = {
            name: figure(f"cold start: {what}: {name}", unit, samples, reference)
            for name, samples in told.items()
            if name != to
        }
        yield from made.values()
        yield from (
            figure(f"cold start: {what}: {OURS}", unit, told[OURS], made[name])
            for name in (MODEL, SDK)
            if name in made
        )


def imports() -> str:
    """Return where the time of ``import function_app`` goes, in microseconds.

    It is given by package, and for the most expensive modules. Measuring alone doubles the times.
    """
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import function_app"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    own = {name: int(us) for us, _, name in _IMPORTED.findall(run.stderr)}
    packages: Counter[str] = Counter()
    for name, us in own.items():
        packages[name.partition(".")[0]] += us
    lines = [
        f"{'by package':<50}{'us':>8}",
        *(f"{name:<50}{us:>8}" for name, us in packages.most_common(20)),
        "",
    ]
    lines += [
        f"{'by module, itself':<50}{'us':>8}",
        *(f"{name:<50}{us:>8}" for name, us in Counter(own).most_common(12)),
        "",
    ]
    return "\n".join([*lines, f"{f'{len(own)} modules':<50}{sum(own.values()):>8}"])


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what is under way


if __name__ == "__main__":
    print(imports())  # noqa: T201
