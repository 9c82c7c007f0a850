"""When to ask again for what another process is computing. Pure.

Asking costs the server a command, and waiting longer than needed costs the caller time. A pause in proportion
to the time that has passed bounds both: the result is noticed at most a fifth later than it was there, and
the number of questions grows with the logarithm of the time. 19 in the first second, 4 a second in the end.
"""

_PART = 0.2
_SHORTEST = 0.015
_LONGEST = 0.25
_AFTER_THE_END = 0.005


def pause(waited: float, left: float, random: float) -> float:
    """Seconds until the next question.

    Args:
        waited: seconds since the first one.
        left: seconds until the other one's lease ends, as far as is known; 0 or less if it should have ended.
        random: 0 to 1. Callers that began together do not ask together; they only ask later.
    """
    chosen = min(max(waited * _PART, _SHORTEST), _LONGEST) * (1.0 + 0.2 * random)
    # Who holds it may be dead: then this is the moment to take its place.
    return min(chosen, left + _AFTER_THE_END) if left > 0 else chosen
