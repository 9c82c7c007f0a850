"""In which content coding a client gets a file that has variants: ``Accept-Encoding`` (RFC 9110, 12.5.3).

Rules:

* Without the header, or with an empty one, the file as it is: who does not ask may not be able to decode.
* The highest weight wins; among equals the smallest variant. ``*`` speaks for all codings that are not named.
* The file as it is comes last when nothing is said of it, and not at all with ``identity;q=0`` or ``*;q=0``.
* A member that cannot be read is passed over, as one that was never sent.
"""

import re
from functools import lru_cache

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]++)[ \t]*(?:;[ \t]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*)?",
    re.IGNORECASE,
)
_UNSAID = 0.0001  # below any weight that can be said, which have three decimal places
_LONGEST = 256  # of the headers that are remembered; a browser's has 30 bytes


def acceptable(header: bytes | None, codings: tuple[str, ...]) -> tuple[str | None, ...]:
    """The codings to send, the best first; ``None`` stands for the file as it is.

    Args:
        header: ``Accept-Encoding``, its lines joined; ``None`` if there is none.
        codings: what there are variants in, the smallest first.
    """
    if not header:
        return (None,)
    return _order(header, codings) if len(header) <= _LONGEST else _order.__wrapped__(header, codings)


@lru_cache(maxsize=128)
def _order(header: bytes, codings: tuple[str, ...]) -> tuple[str | None, ...]:
    said: dict[str, float] = {}
    for member in header.split(b","):
        if found := _MEMBER.fullmatch(member):
            name = found[1].lower().decode()
            said.setdefault("gzip" if name == "x-gzip" else name, float(found[2] or 1))
    weights: dict[str | None, float] = {coding: said.get(coding, said.get("*", 0.0)) for coding in codings}
    weights[None] = said.get("identity", said.get("*", _UNSAID))
    wanted = [coding for coding, weight in weights.items() if weight > 0]
    return tuple(sorted(wanted, key=lambda coding: -weights[coding]))
