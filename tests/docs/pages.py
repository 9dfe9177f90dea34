"""The project's pages, read as GitHub reads them: links, headings, code blocks and tables.

Owns the reading. Does *not* judge what a page says.
"""

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)(```+)(.*)$")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block of code; ``line`` is where it begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """One Markdown file; ``text`` and ``path`` are as they stand in the repository."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path, path.read_text("utf-8"))

    @property
    def name(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()

    @cached_property
    def _split(self) -> tuple[str, tuple[Block, ...]]:
        prose, blocks = list[str](), list[Block]()
        fence, language, begun, inside = "", "", 0, list[str]()
        for number, line in enumerate(self.text.splitlines(), 1):
            found = _FENCE.match(line)
            if not fence and found:
                fence, language, begun, inside = found[2], found[3].strip(), number, []
            elif fence and line.strip() == fence:
                blocks.append(Block(language, "\n".join(inside), begun))
                fence = ""
            elif fence:
                inside.append(line)
            else:
                prose.append(line)
        assert not fence, f"{self.name}: the block that begins in line {begun} does not end"
        return "\n".join(prose), tuple(blocks)

    @property
    def prose(self) -> str:
        """Everything but the blocks of code."""
        return self._split[0]

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self._split[1]

    @property
    def links(self) -> list[str]:
        return _LINK.findall(re.sub(r"`[^`]*`", "", self.prose))

    @property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as GitHub makes them."""
        anchors = set[str]()
        for heading in re.findall(r"^#+ +(.+?) *$", self.prose, re.MULTILINE):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            base = _NOT_IN_ANCHORS.sub("", plain).replace(" ", "-")
            again = sum(one == base or one.startswith(f"{base}-") for one in anchors)
            anchors.add(f"{base}-{again}" if base in anchors else base)
        return anchors

    def first_cells(self, section: str | None = None) -> list[str]:
        """The code spans that stand in the first cell of a row of a table, below one heading."""
        text = self.prose
        if section is not None:
            text = re.split(rf"^#+ {re.escape(section)}$", text, flags=re.MULTILINE)[1]
            text = re.split(r"^#+ ", text, flags=re.MULTILINE)[0]
        text = re.sub(r"^\|.*\n(?=\|[-|]+$)", "", text, flags=re.MULTILINE)  # heads of tables
        rows = re.findall(r"^\| *(`[^|]*)\|", text, re.MULTILINE)
        return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def all_pages() -> list[Page]:
    """Every Markdown file that is not ignored, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = [REPOSITORY / name for name in listed.stdout.splitlines()]
    return [Page.read(file) for file in files if file.exists()]
