"""``python -m scripts.package``: the deployment package, a zip of what runs in Azure.

Owns which files that is: what ``function_app.py`` reaches by its imports, whole folders at a time,
without what .funcignore names. Owns how the zip is written, too: the same input gives the same
bytes. Does *not* deploy.
"""

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

REPOSITORY = Path(__file__).resolve().parents[1]
ENTRY = "function_app.py"
REQUIREMENTS = "requirements.txt"
BESIDE_IT = (ENTRY, "host.json", REQUIREMENTS)
# The Functions host looks here when Azure builds nothing.
DEPENDENCIES = Path(".python_packages/lib/site-packages")

# Azure's Linux machines: Flex Consumption has x86-64 only.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def read_ignored(root: Path) -> GitIgnoreSpec:
    """Return the patterns of .funcignore, which has the form of .gitignore."""
    return GitIgnoreSpec.from_lines((root / ".funcignore").read_text("utf-8").splitlines())


def find_product(root: Path) -> list[Path]:
    """Return the files that are deployed, relative to ``root`` and sorted."""
    ignored = read_ignored(root)
    chosen, waiting, seen = set(map(Path, BESIDE_IT)), [root / ENTRY], set[str]()
    while waiting:
        for name in set(imported_names(waiting.pop())) - seen:
            seen.add(name)
            found = [root / f"{name}.py", *(root / name).rglob("*")]
            fresh = {file.relative_to(root) for file in found if file.is_file()} - chosen
            chosen |= {file for file in fresh if not ignored.match_file(file.as_posix())}
            waiting += [root / file for file in fresh & chosen if file.suffix == ".py"]
    return sorted(chosen)


def imported_names(file: Path) -> Iterator[str]:
    """Yield the first part of each name that a module imports, anywhere in the file.

    For ``azure.functions`` that is ``azure``.
    """
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def pip_command() -> list[str]:
    """Return pip's command for Azure's machines: wheels only, with checked hashes."""
    options = "--quiet --disable-pip-version-check --no-input --require-hashes --no-compile"
    target = "--only-binary :all: --implementation cp --python-version 3.13"
    tags = [("--abi", abi) for abi in ("cp313", "abi3", "none")]
    tags += [("--platform", platform) for platform in PLATFORMS]
    command = [sys.executable, "-m", "pip", "install", *options.split(), *target.split()]
    return [*command, *(part for tag in tags for part in tag)]


def install_dependencies(requirements: Path, folder: Path) -> None:
    """Install the locked requirements into a folder. Errors: subprocess.CalledProcessError."""
    command = [*pip_command(), "--target", str(folder), "--requirement", str(requirements)]
    subprocess.run(command, check=True)  # noqa: S603 - our own interpreter and options
    # Console scripts name the interpreter that installed them; nothing in Azure runs one.
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for record in folder.glob("*.dist-info/RECORD"):
        kept = [
            line for line in record.read_text("utf-8").splitlines() if not line.startswith("../")
        ]
        record.write_text("\n".join(sorted(kept)) + "\n", "utf-8")


def write_package(target: Path, parts: dict[str, Path]) -> int:
    """Write the files ``parts``, by their names in the zip, and return their unpacked bytes.

    The zip shows neither time, owner nor order.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unpacked = 0
    with zipfile.ZipFile(target, "w") as package:
        for name, file in sorted(parts.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            content = file.read_bytes()
            unpacked += len(content)
            package.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return unpacked


def build(target: Path, *, vendored: bool = False, root: Path = REPOSITORY) -> str:
    """Build the package and return a sentence with its size.

    ``vendored`` puts the locked requirements in, for a deployment without a remote build.
    """
    parts = {file.as_posix(): root / file for file in find_product(root)}
    with tempfile.TemporaryDirectory(prefix="package-") as temporary:
        if vendored:
            folder = Path(temporary)
            install_dependencies(root / REQUIREMENTS, folder)
            parts |= {
                (DEPENDENCIES / file.relative_to(folder)).as_posix(): file
                for file in folder.rglob("*")
                if file.is_file()
            }
        unpacked = write_package(target, parts)
    return f"{len(parts)} files, {target.stat().st_size:,} bytes packed, {unpacked:,} unpacked"


def main(arguments: list[str] | None = None) -> int:
    """Build one package and print its size."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.package", description="Build the deployment package."
    )
    parser.add_argument(
        "--vendored",
        action="store_true",
        help="with the locked requirements in it, for a deployment without a remote build",
    )
    options = parser.parse_args(arguments)
    target = (
        REPOSITORY / ".local" / "package" / ("app-vendored.zip" if options.vendored else "app.zip")
    )
    print(f"{target.relative_to(REPOSITORY)}: {build(target, vendored=options.vendored)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
