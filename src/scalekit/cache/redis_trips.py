"""Several questions to Redis in one trip: each asks as if it were alone, and its commands are collected."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from scalekit._redis import Commands, Request, ResponseError, Script
from scalekit._steps import Steps
from scalekit.errors import BackendError

E = TypeVar("E")


def in_one_trip(
    asks: Sequence[Callable[[E], Steps[Any]]], commands: Commands, entries: Callable[[Commands], E]
) -> Steps[list[Any]]:
    """The answers to ``asks``, sent by ``commands``; in place of one its error.

    Args:
        asks: each is given ``entries`` over commands that are collected.
    """
    collected = entries(cast("Commands", _Collected()))
    questions = [_Question(ask(collected)) for ask in asks]
    for question in questions:
        question.go_on()
    while waiting := [question for question in questions if question.requests is not None]:
        try:
            replies = yield commands.pipeline([one for each in waiting for one in each.requests or ()])
        except (BackendError, ResponseError) as error:
            for question in waiting:
                question.go_on(error=error)
        else:
            for question in waiting:
                number = len(question.requests or ())
                question.go_on(replies[:number])
                del replies[:number]
    return [question.answer for question in questions]


class _Collected:
    """Commands that are not sent: what would be is handed to whoever drives the steps."""

    def execute(self, *args: Any) -> Request:
        return Request(args)

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Request:
        return script.request(keys, args)

    def pipeline(self, requests: Sequence[Request]) -> list[Request]:
        return list(requests)

    def close(self) -> None:
        """Nothing is open."""


class _Question:
    """Steps that wait for the replies to ``requests``; without these they have their answer."""

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self._one = False
        self.requests: list[Request] | None = None
        self.answer: Any = None

    def go_on(self, replies: list[Any] | None = None, *, error: Exception | None = None) -> None:
        try:
            if error is not None:
                step = self._steps.throw(error)
            else:
                step = self._steps.send(replies[0] if replies is not None and self._one else replies)
        except StopIteration as end:
            self.requests, self.answer = None, end.value
        except BackendError as failure:
            self.requests, self.answer = None, failure
        else:
            self._one = isinstance(step, Request)
            self.requests = [step] if isinstance(step, Request) else step
