"""JavaScript, HTML, CSS, C# and shell files keep to the width that ruff holds for Python."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = 100
KINDS = ("*.js", "*.mjs", "*.html", "*.css", "*.cs", "*.sh")


def test_no_line_is_longer_than_a_line_of_python_may_be() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *KINDS]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = [REPOSITORY / name for name in listed.stdout.splitlines()]
    assert len(files) >= 15
    long = [
        f"{file.relative_to(REPOSITORY)}:{number}"
        for file in files
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if len(line) > COLUMNS
    ]
    assert long == []
