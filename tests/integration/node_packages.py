"""Programs in JavaScript that the tests run.

They are installed on first use from the lock file beside this module, into ``.tools/``. This needs
Node.js 20 or newer with npm.
"""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_TOOLS = Path(__file__).parents[2] / ".tools"


class NodeMissing(Exception):
    """Node.js is not here, or npm cannot install; the message says what to do."""


def install(name: str) -> Path:
    """Install what the folder ``name`` locks, unless it is there.

    Returns the folder that holds ``node_modules``. One run at a time: others wait for it.
    """
    locked, home = _HERE / name, _TOOLS / name
    digest = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()
    installed = home / "node_modules" / f".installed-{digest[:16]}"
    home.mkdir(parents=True, exist_ok=True)
    with (_TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise NodeMissing(
                    f"the tests need {name}, and that needs npm: install Node.js 20 or newer"
                )
            for file in ("package.json", "package-lock.json"):
                shutil.copy(locked / file, home / file)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(
                command, cwd=home, capture_output=True, text=True, timeout=600, check=False
            )
            if done.returncode:
                raise NodeMissing(f"npm ci failed for {name}:\n{done.stderr[-2000:]}")
            installed.touch()
    return home
