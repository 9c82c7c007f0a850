"""Slots against a model: what is at work, and what streams, kept once more in the plainest way."""

import random

from scalekit.ops import Limits, Priority, Shedding
from scalekit.ops.shedding import Slot

MAXIMUM = 12
PRIORITIES = (Priority.LOW, Priority.NORMAL, Priority.CRITICAL)


class Model:
    """Each method is an event; ``which`` chooses among the slots that it may concern."""

    def __init__(self) -> None:
        self.shedding = Shedding(limits=Limits(minimum=2, initial=6, maximum=MAXIMUM))
        self.at_work: list[Slot] = []
        self.streaming: list[Slot] = []
        self.begun: set[Slot] = set()
        self.gone: list[Slot] = []
        self.came, self.refused = 0, 0
        self.full = 0  # how often all of the maximum was taken

    @property
    def here(self) -> list[Slot]:
        return [*self.at_work, *self.streaming]

    def come(self, priority: Priority) -> None:
        slot = self.shedding.enter(priority)
        # The limit of now: this very call may have moved it, and none since.
        fits = len(self.at_work) < priority.room(self.shedding.limit) and len(self.here) < max(
            MAXIMUM, priority.room(MAXIMUM)
        )
        assert (slot is not None) == fits
        self.came += 1
        self.full += len(self.here) >= MAXIMUM
        if slot is None:
            self.refused += 1
        else:
            self.at_work.append(slot)

    def answer(self, which: int, endless: bool) -> None:
        if self.here:
            slot = self.here[which % len(self.here)]
            slot.answered(200, endless=endless)
            if endless and slot not in self.begun:
                self.at_work.remove(slot)
                self.streaming.append(slot)
            self.begun.add(slot)

    def leave(self, which: int) -> None:
        if self.here:
            slot = self.here[which % len(self.here)]
            (self.at_work if slot in self.at_work else self.streaming).remove(slot)
            slot.leave()
            self.gone = [*self.gone[-9:], slot]

    def come_too_late(self, which: int, endless: bool) -> None:
        if self.gone:
            slot = self.gone[which % len(self.gone)]
            slot.answered(200, endless=endless)
            slot.leave()

    def check(self) -> None:
        assert self.shedding.in_flight == len(self.here)
        assert self.shedding._streams == len(self.streaming)
        assert sum(self.shedding._admitted.values()) + sum(self.shedding._shed.values()) == self.came
        assert sum(self.shedding._shed.values()) == self.refused

    def end(self) -> None:
        while self.here:
            self.leave(0)
        self.check()
        assert self.shedding.in_flight == 0


def run(events: int, seed: int) -> Model:
    """So many events by chance."""
    dice, model = random.Random(seed), Model()
    for _ in range(events):
        which, endless = dice.randrange(1000), dice.random() < 0.3
        match dice.randrange(6):
            case 0 | 4 | 5:
                model.come(dice.choice(PRIORITIES))
            case 1:
                model.answer(which, endless)
            case 2:
                model.leave(which)
            case _:
                model.come_too_late(which, endless)
        model.check()
    model.end()
    return model
