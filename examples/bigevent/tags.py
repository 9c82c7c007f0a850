"""HTML and SVG elements, escaped."""

from html import escape


def tag(name: str, content: str = "", *, raw: bool = False, cls: str = "", **attributes: object) -> str:
    """An element.

    Args:
        content: its text; with ``raw``, its elements.
        cls: its class.
        attributes: ``text_anchor=`` is ``text-anchor``.
    """
    given = ({"class": cls} if cls else {}) | attributes
    written = "".join(f' {key.replace("_", "-")}="{escape(str(value))}"' for key, value in given.items())
    elements = raw or name in ("svg",)
    return f"<{name}{written}>{content if elements else escape(content)}</{name}>"


def table(rows: list[list[str | int | float | None]], *, head: list[str] | None = None) -> str:
    """A table whose numbers stand on the right; ``None`` is an empty cell."""
    lines = (
        []
        if head is None
        else ["".join(tag("th", cell, cls="n" if index else "") for index, cell in enumerate(head))]
    )
    lines += ["".join(_cell(cell) for cell in row) for row in rows]
    body = "".join(tag("tr", line, raw=True) for line in lines)
    return tag("div", tag("table", body, raw=True), raw=True, cls="wide")


def _cell(cell: str | int | float | None) -> str:
    if isinstance(cell, int):
        return tag("td", f"{cell:,}", cls="n")
    if isinstance(cell, float):
        return tag("td", f"{cell:g}", cls="n")
    return tag("td", cell or "")
