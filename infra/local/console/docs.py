"""The pages that document the API.

Swagger UI shows the committed OpenAPI document. ``python -m infra.local.console.docs FOLDER``
writes the pages for publishing.

Owns their files and their Content-Security-Policy. The pinned package flask-swagger-ui brings the
files of Swagger UI; nothing else of it is used. The pages ask no other host for anything. A reader
cannot try a request on them: the pages document, the console demonstrates.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_FOLDER: Final = Path(__file__).with_name("page") / "docs"
DOCUMENT: Final = _REPOSITORY / "describe_api" / "openapi.json"
_SWAGGER_UI: Final = {
    "swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui.css",
    "swagger-ui.LICENSE.txt": "LICENSE",
}
# Swagger UI's own icons are data: images. index.html repeats the policy, for hosts of static files
# that set no headers.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def pages() -> Mapping[str, Path]:
    """Return the files by the names under which they are published.

    The result also names a missing document.
    """
    own = {path.name: path for path in sorted(_FOLDER.iterdir())}
    return {
        **own,
        **{name: _swagger_ui() / file for name, file in _SWAGGER_UI.items()},
        "openapi.json": DOCUMENT,
    }


def build(target: Path) -> None:
    """Write the pages to a folder; make the folder if it is missing.

    Errors: FileNotFoundError when there is no OpenAPI document.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, path in pages().items():
        shutil.copyfile(path, target / name)


def main(arguments: list[str] | None = None) -> int:
    """Build the pages. Exit codes: 0 done, 1 something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.console.docs",
        description="Write the pages that document the API.",
    )
    parser.add_argument("folder", type=Path)
    target: Path = parser.parse_args(arguments).folder
    try:
        build(target)
    except FileNotFoundError as error:
        print(f"The pages cannot be built: {error.filename} is missing.", file=sys.stderr)
        return 1
    print(
        f"Wrote {target}/: serve or publish it as it is, e.g. with python -m http.server "
        f"--directory {target}"
    )
    return 0


def _swagger_ui() -> Path:
    """Return the folder of Swagger UI's files, without importing their package.

    Errors: RuntimeError when the package is not installed.
    """
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("Swagger UI is missing: install requirements-dev.txt.")
    return Path(next(iter(spec.submodule_search_locations))) / "dist"


if __name__ == "__main__":
    sys.exit(main())
