"""Which names an asset may have: those that mean the same in a URL, in a folder and in a bucket.

Rules:

* Relative and of plain segments: nothing that leads up, to a root or to another drive.
* No control characters, among them NUL, and no ``\\``, which is a separator on some systems.
* Text that UTF-8 can say: JSON can hold half of a surrogate pair.
"""

import re

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def fault_of(name: str) -> str | None:
    """What is wrong with ``name``, as the end of "its name ..."; ``None`` when nothing is."""
    if not name:
        return "is empty"
    if _FORBIDDEN.search(name):
        return "has a control character, a backslash or half of a surrogate pair in it"
    if name.startswith("/"):
        return "is absolute"
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        return "has a segment that is empty, '.' or '..'"
    return None
