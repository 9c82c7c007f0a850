"""Whether the members have been asked often enough for the first transaction. Pure."""

from collections.abc import Hashable, Sequence


class FirstRound:
    """Everybody is to have answered before a process begins to choose among them.

    Args:
        over: there is nobody to wait for.
    """

    def __init__(self, *, over: bool) -> None:
        self.over = over
        self._unheard: dict[Hashable, int] = {}
        self._asked_again = False

    def heard(self, member: Hashable, *, failed: bool, members: Sequence[Hashable], listed: bool) -> bool:
        """``member`` has answered; whether to ask everyone once more, before the first transaction.

        What a replica said before the primary had told its position cannot be compared with it.

        Args:
            member: that was asked.
            failed: it has not answered in time.
            members: who they are.
            listed: whether those are all.
        """
        self._unheard[member] = 0 if failed else self._unheard.get(member, 2) - 1
        left = [self._unheard.get(one) for one in members]
        first = listed and None not in left and not self._asked_again
        self._asked_again |= first
        self.over = self._asked_again and all(count is not None and count <= 0 for count in left)
        return first and not self.over
