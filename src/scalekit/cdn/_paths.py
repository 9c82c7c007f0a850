"""Which requests an option is for, by their paths: ``"/about"`` is one, ``"/news/"`` all below it.

Rules:

* ``{$}`` at the end stands for the end: ``"/{$}"`` is the home page alone, ``"/news/{$}"`` that page alone.
* What is in braces stands for one segment: ``"/products/{sku}"``. It is never empty, and has no slash in it.
* A path with ``.``, ``..`` or an empty segment in its middle is below nothing: what it means is for others to
  say, and they may say that it is elsewhere.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

from scalekit._options import check_items
from scalekit.errors import ConfigurationError

Path: TypeAlias = re.Pattern[str]

_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
_END = "{$}"
_DOTS = re.compile(r"/\.{0,2}/|/\.{1,2}$")


def path_pattern(path: str, *, option: str) -> Path:
    """``path``, as an option has it, as a pattern for :func:`fits`.

    Raises:
        ConfigurationError: it is no path, or its braces name nothing.
    """
    if not isinstance(path, str) or not path.startswith("/") or "?" in path:
        raise ConfigurationError(f"{option}: {path!r:.100} is no path; it begins with '/' and has no query")
    parts = _PLACE.split(path.removesuffix(_END))  # what stands as it is, and in turn a name
    texts, names = parts[::2], parts[1::2]
    if set("{}") & set("".join(texts)) or len(set(names)) < len(names):
        raise ConfigurationError(
            f"{option}: {path!r:.100}: braces hold one name each, and each another, as in '/products/{{sku}}'"
        )
    found = [f"(?P<{part}>[^/]+)" if place % 2 else re.escape(part) for place, part in enumerate(parts)]
    return re.compile("".join(found) + (".*" if path.endswith("/") else ""), re.DOTALL)


def path_patterns(paths: Iterable[str], *, option: str) -> tuple[Path, ...]:
    """Several of them."""
    return tuple(path_pattern(path, option=option) for path in check_items(paths, option=option))


def fits(path: str, pattern: Path) -> dict[str, str] | None:
    """What stands in the places of ``pattern``; ``None`` if ``path`` is another."""
    found = pattern.fullmatch(path)
    if found is None or _DOTS.search(path):
        return None
    return found.groupdict()
