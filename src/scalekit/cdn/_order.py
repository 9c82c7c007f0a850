"""Which files refer to which, so that no file is there before those that it refers to.

A file is taken to refer to another where the other's name stands in it, whatever for: a name has the hash of
its content, so nothing else looks like one. Only text that may refer to other files is read.
"""

import re
from collections.abc import Mapping

_REFERS = ("text/css", "text/javascript", "text/html", "image/svg+xml", "application/manifest+json")
_WORD = re.compile(rb"[\w.~@%+-]+\.[\w.~@%+-]+")


def may_refer(content_type: str) -> bool:
    """Whether a file of that type may name others."""
    return content_type.startswith(_REFERS)


def named_in(content: bytes, names: Mapping[bytes, str]) -> set[str]:
    """The files whose last part stands in ``content``; ``names`` has each by that part, as UTF-8."""
    return {names[word] for word in set(_WORD.findall(content)) if word in names}


def levels(references: Mapping[str, set[str]]) -> list[list[str]]:
    """All files in groups, each after every group that it refers to; what refers to each other goes last.

    Args:
        references: for each file, those that it names.
    """
    waiting = {name: {other for other in named if other != name} for name, named in references.items()}
    found: list[list[str]] = []
    while waiting:
        ready = sorted(name for name, named in waiting.items() if not named & waiting.keys())
        if not ready:
            ready = sorted(waiting)  # a circle, and what refers to it: no order is right, so none is worse
        found.append(ready)
        for name in ready:
            del waiting[name]
    return found
