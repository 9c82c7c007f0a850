"""The memory budget in every state: all that can happen to few uploads, and much that can happen to many."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.storage import budget_model
from tests.storage.budget_model import Model, Step, Upload

TIME: Step = ("time", 0)


@pytest.fixture(autouse=True, scope="module")
def _stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        budget_model.use_stand_ins(patch)
        yield


def _reached(limit: int, uploads: int, chunks: int, part: int, path: tuple[Step, ...]) -> Model:
    model = Model(limit)
    for _ in range(uploads):
        model.begin(chunks=chunks, chunk=1, part=part)
    for step in path:
        model.do(step)
    return model


@pytest.mark.parametrize(
    ("limit", "uploads", "chunks", "part"),
    [
        (2, 2, 4, 3),
        (2, 3, 2, 2),
        pytest.param(4, 3, 3, 2, marks=pytest.mark.slow),
        pytest.param(3, 4, 2, 3, marks=pytest.mark.slow),
    ],
)
def test_all_that_can_happen(limit: int, uploads: int, chunks: int, part: int) -> None:
    """Memory is bounded in every state that few uploads can reach, with clients that send, stall for as long
    as they like, and go away at any moment, and an S3 that answers late. None is a dead end: until all are
    through, some client is asked for more or something is being sent. Each of those brings the end nearer.
    """
    seen, todo = set[object](), deque[tuple[Step, ...]]([()])
    while todo:
        path = todo.popleft()
        model = _reached(limit, uploads, chunks, part, path)
        model.check()
        steps = list(model.steps())
        assert all(upload.over for upload in model.uploads) or any(what != "goes away" for what, _ in steps)
        for step in (*steps, TIME):
            after = (*path, step)
            state = _reached(limit, uploads, chunks, part, after).state()
            if state not in seen:
                seen.add(state)
                todo.append(after)
    assert len(seen) > 300


class Budget(RuleBasedStateMachine):
    """Many uploads, of all sizes, with chunks that fit and chunks that do not."""

    @initialize(limit=st.sampled_from([2, 8, 24]), part=st.sampled_from([2, 3, 8]))
    def begin_with(self, limit: int, part: int) -> None:
        self.model, self.part = Model(limit), part

    @rule(
        count=st.integers(min_value=1, max_value=12),
        chunks=st.integers(min_value=1, max_value=12),
        chunk=st.sampled_from([1, 1, 2]),
    )
    def uploads_begin(self, count: int, chunks: int, chunk: int) -> None:
        for _ in range(count):
            self.model.begin(chunks=chunks, chunk=chunk, part=self.part)

    @precondition(lambda self: any(self.model.steps()))
    @rule(data=st.data())
    def something_happens(self, data: Any) -> None:
        self.model.do(data.draw(st.sampled_from(list(self.model.steps()))))

    @rule()
    def all_send_a_chunk(self) -> None:
        for upload in self.model.uploads:
            if upload.asks and upload.left:
                self.model.comes(upload)
                self.model.check()

    @rule()
    def time_passes(self) -> None:
        self.model.time()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "model"):
            self.model.check()

    def teardown(self) -> None:
        if hasattr(self, "model"):
            rounds(self.model)
            assert self.model.budget.held == self.model.budget._promises.total == 0


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestBudget.__doc__ = (
    "Memory is bounded, nobody waits for ever, and nothing is left in the end; see `Model.check`."
)


def rounds(model: Model) -> int:
    """Until all are through, in rounds: S3 answers all that it has got, each client that is asked sends."""
    count = 0
    while not all(upload.over for upload in model.uploads):
        assert any(what != "goes away" for what, _ in model.steps()), "a dead end"
        count += 1
        for upload in [upload for upload in model.uploads if upload.being_sent]:
            model.is_sent(upload)
        for upload in [upload for upload in model.uploads if upload.asks]:
            model.comes(upload)
        model.check()
    return count


@pytest.mark.parametrize("chunks", [16, 100])
def test_hundreds_at_once(chunks: int) -> None:
    """What gets free makes some whole, while others wait: three times the memory, and more, is through in few
    rounds of the clients. A chunk for each that waits, and then one at a time, would take hundreds of them.
    """
    limit = 2048
    uploads = max(3 * limit // chunks, 100)
    model = Model(limit)
    for _ in range(uploads):
        model.begin(chunks=chunks, chunk=1, part=128)
    at_best = uploads * chunks // limit * (chunks + 1)
    assert rounds(model) < 4 * at_best


def _sending(model: Model, count: int) -> list[Upload]:
    """Uploads of a chunk each that S3 has not answered yet."""
    uploads = [model.begin(chunks=1, chunk=1, part=2) for _ in range(count)]
    for upload in uploads:
        model.comes(upload)
        model.comes(upload)
        assert upload.being_sent
    return uploads


def test_slow_ones_take_turns() -> None:
    """Who is let go on for a chunk, as slow ones are, comes after all who wait already."""
    model = Model(4)
    first, second, third = (model.begin(chunks=9, chunk=1, part=9) for _ in range(3))
    model.time()
    sending = _sending(model, 4)
    for slow in (first, second, third):
        model.comes(slow)
    for now in (first, second, third, first):
        assert first.waits
        assert second.waits
        assert third.waits
        while now.waits:
            model.is_sent(sending.pop())
        model.comes(now)
        model.check()


def test_a_large_one_among_small_ones_without_end() -> None:
    """It needs more than is free at any moment, and more than was expected. New ones that would fit do not go
    past it: it gets what it needs.
    """
    model = Model(16)
    large = model.begin(chunks=24, chunk=1, part=12)
    count = 0
    while not large.over:
        count += 1
        assert count < 200
        for _ in range(3):
            model.begin(chunks=3, chunk=1, part=12)
        for upload in [upload for upload in model.uploads if upload.being_sent]:
            model.is_sent(upload)
        for upload in [upload for upload in model.uploads if upload.asks]:
            model.comes(upload)
        model.check()
        model.uploads = [upload for upload in model.uploads if not upload.over or upload is large]
    assert any(upload.waits for upload in model.uploads)


def test_more_than_the_whole_budget() -> None:
    """A chunk that is larger than the budget waits for those who hold something, and not for those who come
    later. Then it goes on.
    """
    model = Model(4)
    before = _sending(model, 2)
    huge = model.begin(chunks=1, chunk=9, part=9)
    model.comes(huge)
    after = model.begin(chunks=1, chunk=1, part=9)
    model.comes(after)
    assert huge.waits
    assert after.waits
    for upload in before:
        model.is_sent(upload)
    assert not huge.waits
    rounds(model)


def test_what_is_found_out_to_be_slow_loses_its_promise() -> None:
    """Others get it, also while something else is being sent, to an S3 that does not answer."""
    model = Model(16)
    before = [model.begin(chunks=4, chunk=1, part=8) for _ in range(4)]
    for upload in before * 5:
        model.comes(upload)
    stalled, other, quick = (model.begin(chunks=4, chunk=1, part=8) for _ in range(3))
    model.comes(stalled)
    assert stalled.waits
    for upload in before[:2]:
        model.is_sent(upload)
    assert not stalled.waits
    for upload in (other, other, quick, quick):
        model.comes(upload)
    assert quick.waits
    model.time()
    assert not quick.waits
    assert all(upload.being_sent for upload in before[2:])


def test_nobody_goes_past_those_who_wait() -> None:
    """Who comes later and would fit waits as well, or else what has to be more would never get room."""
    model = Model(16)
    before = [model.begin(chunks=chunks, chunk=1, part=8) for chunks in (7, 7, 2)]
    for upload in before:
        while not upload.being_sent:
            model.comes(upload)
    large, small = (model.begin(chunks=8, chunk=1, part=8) for _ in range(2))
    model.comes(large)
    model.is_sent(before[2])
    model.comes(small)
    assert model.budget.held == 16
    assert large.waits
    assert small.waits
    model.is_sent(before[1])
    assert not large.waits


def test_one_that_is_larger_than_expected() -> None:
    """It waits once more, before all others, for the rest of a whole part; and then for nothing else."""
    model = Model(16)
    before = [model.begin(chunks=2, chunk=1, part=8) for _ in range(8)]
    for upload in before * 3:
        model.comes(upload)
    large, other = (model.begin(chunks=9, chunk=1, part=8) for _ in range(2))
    model.comes(large)
    model.comes(other)
    for upload in before[:2]:
        model.is_sent(upload)
    model.comes(large)
    assert not large.waits
    model.comes(large)
    for upload in before[2:5]:
        assert large.waits
        assert other.waits
        model.is_sent(upload)
    assert other.waits
    while not large.being_sent:
        model.comes(large)


def test_a_part_that_is_whole_holds_nobody_up() -> None:
    """All that was promised to it is used, and its client stalls before it says that this was the end."""
    model = Model(32)
    small = model.begin(chunks=3, chunk=1, part=4)
    for _ in range(4):
        model.comes(small)
    model.is_sent(small)
    full = model.begin(chunks=99, chunk=1, part=99)
    for _ in range(32):
        model.comes(full)
    ahead, whole, next_one = (model.begin(chunks=4, chunk=1, part=4) for _ in range(3))
    for upload in (ahead, whole, next_one, whole, whole):
        model.comes(upload)
    assert next_one.waits
    model.comes(whole)
    assert not whole.waits
    assert not next_one.waits


def test_a_limit_is_kept_by_those_who_only_begin() -> None:
    """Nobody sends anything whole: what is held is the limit, an eighth, two parts and a chunk of each."""
    model = Model(64)
    for _ in range(100):
        model.begin(chunks=99, chunk=1, part=8)
    for _ in range(50):
        for upload in model.uploads:
            if upload.asks and upload.account.pace.size < 7:
                model.comes(upload)
        model.time()
        model.check()
    assert model.budget._sending == 0
    assert 64 < model.budget.held <= 64 + 8 + 16 + 100
