"""What a transaction that met trouble may do about it. Pure.

Rules:

* What has been read already is never repeated, and a statement on the primary never is: it may have
  written, or call a function that did.
* What a replica refuses has not been executed, and may run on the primary, whatever was read before.
* A connection that is lost under a statement, without a word of the server's, may have been lost because of
  it: what takes memory until the system ends its process would end one on every server. So it is repeated
  once, and then it is an error.
"""

from enum import Enum, auto

from scalekit.database.backends.protocol import Trouble


class Repeat(Enum):
    """Where a statement may be repeated."""

    NOWHERE = auto()
    ON_PRIMARY = auto()
    ELSEWHERE = auto()
    """On another replica, or else the primary."""


def repeat(trouble: Trouble, *, replica: bool, statements: int, lost: int = 1) -> Repeat:
    """Where the statement that ended in ``trouble`` may be repeated.

    Args:
        trouble: what its error means.
        replica: whether it ran on a replica.
        statements: how many the transaction had run there before, with success.
        lost: how many connections have been lost under this statement, with this one, without a word.
    """
    if not replica:
        return Repeat.NOWHERE
    if trouble in (Trouble.WRITE_REFUSED, Trouble.FEATURE_REFUSED):
        return Repeat.ON_PRIMARY
    if statements or (trouble is Trouble.GONE and lost > 1):
        return Repeat.NOWHERE
    return Repeat.ELSEWHERE if trouble in (Trouble.GONE, Trouble.CONFLICT) else Repeat.NOWHERE
