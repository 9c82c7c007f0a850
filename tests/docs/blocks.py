"""The code blocks of a Markdown page.

A block that is not to run has the reason on the line above it::

    <!-- not run: needs gunicorn -->

What a page claims in words can be checked in code that readers do not see::

    <!-- check
    assert client.get("/").status_code == 200
    -->
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|:{3,})(?P<info>.*)$")
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")


@dataclass(frozen=True)
class Block:
    """``line`` is the number of the line before the code, so that errors name lines of the page."""

    language: str
    code: str
    line: int
    not_run: str | None = None


def pages() -> list[Path]:
    """README.md and every page of the documentation."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if "_build" not in page.parts]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of ``page`` and its hidden checks, in order."""
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.strip() == "<!-- check":
            end = number + lines[number:].index("-->")
            found.append(Block("python", "\n".join(lines[number:end]), number))
            number = end + 1
        elif fence := _FENCE.match(line):
            language = fence["info"].strip().partition(" ")[0]
            end = next(
                (at for at in range(number, len(lines)) if lines[at].strip() == fence["fence"]),
                None,
            )
            assert end is not None, f"{page.name}:{number}: this block has no end"
            if not language.startswith("{"):
                indent = len(fence["indent"])
                reason = _NOT_RUN.match(lines[number - 2]) if number > 1 else None
                code = "\n".join(text[indent:] for text in lines[number:end])
                found.append(Block(language, code, number, reason["reason"] if reason else None))
                number = end + 1
            elif language not in ("{note}", "{tip}", "{warning}", "{admonition}", "{tab-set}", "{tab-item}"):
                number = end + 1  # a directive with content of its own; those named contain Markdown
    return found


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("python", "py")]
