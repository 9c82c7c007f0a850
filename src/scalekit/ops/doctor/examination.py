"""The whole examination: what can be judged at once, and what servers have to be asked, all at the same time.

Rules:

* Nothing is changed. Servers are asked over connections of their own.
* It ends in time: who is asked has a thread, and what has not come back by the deadline does not answer.
* What cannot be looked at, because nobody has said it, is told in ``unchecked``.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scalekit.errors import ScalekitError
from scalekit.ops.doctor import assets, bucket, database, django, process, server, site, stack, state
from scalekit.ops.doctor.around import Around
from scalekit.ops.doctor.findings import Finding, masked, worst_first
from scalekit.ops.doctor.load import Loaded
from scalekit.ops.doctor.parts import Parts, take_apart
from scalekit.ops.doctor.questions import Question, questions, uploads_directly

_DRAIN = "scalekit.ops.drain.Drain"


class Examination(NamedTuple):
    """What was found, the worst first; and what was not looked at, and what to say to have it looked at."""

    findings: list[Finding]
    unchecked: list[str]


def examine(app: Loaded, *, also: Iterable[Loaded] = (), around: Around | None = None) -> Examination:
    """Look at an application, and ask the servers that it uses. Blocks, for ``around.timeout`` at most.

    Raises:
        ConfigurationError: it cannot be taken apart, or ``around`` is wrong.
    """
    around = around or Around()
    served = None if around.command is None else server.read(around.command)
    for option, url in (("--url", around.url), ("--origin", around.origin)):
        if url is not None:
            site.check_url(url, option=option)
    parts = take_apart(app, also)
    asked = list(questions(parts, around, served))
    findings = [*_at_once(parts, around, served), *_ask_all(asked, around.timeout)]
    return Examination(worst_first(findings), list(_unchecked(parts, around)))


def _at_once(parts: Parts, around: Around, served: server.Server | None) -> Iterator[Finding]:
    yield from stack.judge(parts.layers, where=parts.name)
    hashed = assets.folders([thing for _, thing in parts.things])
    for way, thing in parts.things:
        yield from process.judge(thing, where=parts.where(way))
        yield from assets.judge(thing, hashed=hashed, where=parts.where(way))
    for where, storage in parts.of(bucket.DISK):
        kind = bucket.file_system(storage.directory)
        yield from bucket.judge_disk(storage.directory, kind, where=where)
    for function in parts.used:
        yield from state.judge(function)
    if parts.django:
        yield from django.judge()
    shielded = stack.has(parts.layers, stack.SHIELD) or around.origin is not None
    yield from assets.judge_shield(parts.layers, shielded=shielded, where=parts.name)
    drains = parts.of(_DRAIN)
    if not drains:
        yield server.missing(where=parts.name)
    for where, drain in drains:
        yield from server.judge_drain(
            drain.delay,
            drain.grace,
            slowest=around.slowest,
            killed_after=around.killed_after,
            server=served,
            where=where,
        )
    if served is not None and around.idle_timeout is not None:
        yield from server.judge_keep_alive(served, idle_timeout=around.idle_timeout, where="--command")


def _ask_all(asked: list[Question], timeout: float) -> Iterator[Finding]:
    answers: list[list[Finding] | None] = [None] * len(asked)

    def ask(number: int, question: Question) -> None:
        try:
            answers[number] = list(question.ask())
        except (ScalekitError, OSError) as error:
            answers[number] = [question.silent(masked(str(error) or "no answer in time"))]
        # One that fails in a way of its own must not take the findings of the others along.
        except Exception as error:  # noqa: BLE001
            answers[number] = [question.silent(masked(f"{type(error).__name__}: {error}")[:300])]

    # Daemons: one that hangs must not keep the program from ending.
    threads = [
        threading.Thread(target=ask, args=pair, name="doctor", daemon=True) for pair in enumerate(asked)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for question, answer in zip(asked, answers, strict=True):
        yield from [question.silent(f"nothing within {timeout:g} s")] if answer is None else answer


def _unchecked(parts: Parts, around: Around) -> Iterator[str]:
    if around.servers is None and parts.of(*database.CLUSTERS):
        yield "whether the database has connections for all: --servers N"
    if around.command is None or around.idle_timeout is None:
        yield "whether idle connections last: --command 'uvicorn ...' --idle-timeout SECONDS"
    if (around.slowest is None or around.killed_after is None) and parts.of(_DRAIN):
        yield "whether a drain has the time that it needs: --slowest SECONDS --killed-after SECONDS"
    if around.url is None:
        pages = ", and may upload straight to the bucket" if uploads_directly(parts) else ""
        yield f"what pages say to caches{pages}: --url URL"
    if around.origin is None and (
        stack.has(parts.layers, stack.POLICY | stack.SHIELD)
        or any(thing.cdn is not None for _, thing in parts.of(assets.ASSETS))
    ):
        yield "whether the servers can be reached round the CDN: --origin URL"
