"""Who is in the shop, and when all have left."""

import asyncio
from typing import Any

import pytest

from examples.bigevent import run
from examples.bigevent.run import Crowd


class Guest:
    """A visitor who stays until the event of their name is set."""

    events: dict[str, asyncio.Event]

    def __init__(self, user: str, browser: Any, events: Any, *, leave: float) -> None:
        self.user, self.leave = user, leave

    async def stay(self) -> None:
        await self.events[self.user].wait()
        if self.user == "b0":
            raise AssertionError("b0 has seen something that is not there")


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    Guest.events = {name: asyncio.Event() for name in ("u0", *(f"b{number}" for number in range(9)))}
    monkeypatch.setattr(run, "Visitor", Guest)
    http: Any = None
    return Crowd(http, "http://test", users=1, until=1e9)


async def rest() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_comes_later_is_waited_for(crowd: Crowd) -> None:
    """In a short run the burst may come so late that its visitors are the last to leave; who looked whether
    all is there beside them would not see what they are about to write. What one of them trips over ends the
    run."""
    crowd.enter(1, "u")
    left = asyncio.create_task(crowd.left())
    await rest()
    crowd.burst(True)
    Guest.events["u0"].set()
    await rest()
    assert not left.done()
    for number in range(1, 9):
        Guest.events[f"b{number}"].set()
    await rest()
    assert not left.done()
    Guest.events["b0"].set()
    with pytest.raises(AssertionError, match="b0 has seen"):
        await left
