"""How long a request had waited before it came here, from the header that a balancer has written. Pure.

Rules:

* The header is ``X-Request-Start`` or ``X-Queue-Start``: when the balancer took the request, as a number
  since 1970, with or without ``t=`` before it. nginx writes seconds with a point, Heroku's router
  milliseconds, Apache microseconds; which of them it is the size of the number tells.
* Clocks of two machines differ: up to a tenth of a second in the future is a wait of nothing. What is further
  ahead, or more than a minute ago, is not believed, for visitors can send the header, too.
"""

from collections.abc import Iterable

NAMES = frozenset((b"x-request-start", b"x-queue-start"))
_LONGEST = 60.0
_AHEAD = 0.1
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e8, 1.0))


def waited(headers: Iterable[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds between the balancer and ``now``, which is seconds since 1970; ``None`` if nobody knows."""
    found = [value for name, value in headers if name in NAMES]
    return wait_of(found[0].decode("latin-1"), now) if found else None


def wait_of(value: str, now: float) -> float | None:
    """The same, of what such a header says."""
    text = value.strip().removeprefix("t=")
    # float() takes more than anybody writes there: "nan", "1_000", other scripts' digits.
    if len(text) > 24 or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    number = float(text)
    for least, unit in _UNITS:
        if number >= least:
            wait = now - number / unit
            return max(wait, 0.0) if -_AHEAD <= wait <= _LONGEST else None
    return None
