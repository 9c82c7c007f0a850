"""The URLs of a ``srcset`` (HTML standard, "parse a srcset attribute").

A comma does not always part two candidates: it may stand inside a URL (``data:image/png;base64,...``) or
inside a descriptor's parentheses. So the grammar is followed, not ``split(",")``.
"""

import re

# Leading commas are skipped; a URL runs to the next white space; commas at its end close the candidate.
_URL = re.compile(r"[ \t\n\f\r,]*([^ \t\n\f\r,][^ \t\n\f\r]*|\Z)")
_DESCRIPTORS = re.compile(r"(?:[^,(]++|\([^)]*+(?:\)|\Z))*,?")


def urls(value: str) -> list[tuple[int, int]]:
    """Where the candidates' URLs stand in ``value``, as ``(start, stop)`` pairs."""
    spans: list[tuple[int, int]] = []
    position = 0
    while match := _URL.match(value, position):
        start, position = match.span(1)
        if start == position:
            break
        stop = start + len(value[start:position].rstrip(","))
        spans.append((start, stop))
        if stop == position:
            descriptors = _DESCRIPTORS.match(value, position)
            assert descriptors is not None  # the pattern matches the empty string
            position = descriptors.end()
    return spans
