"""Runs checks without letting one hold a server up, whatever it does.

A blocking check gets a daemon thread: a pool would be emptied by checks that hang, and a thread that is
not a daemon would keep the process from ending.
"""

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from scalekit.errors import WrongColour
from scalekit.ops.health import Check, Health

_log = logging.getLogger("scalekit.ops")

PATIENCE = 0.25
"""Seconds that the probe which starts a run waits for it. All other probes never wait."""


def check_blocking(health: Health) -> None:
    """Refuse coroutine functions, which nobody could await under WSGI.

    Raises:
        WrongColour: there is one.
    """
    for check in health.checks:
        if inspect.iscoroutinefunction(check.call):
            raise _coroutine_under_wsgi(check)


def _coroutine_under_wsgi(check: Check) -> WrongColour:
    what = f"the check {check.name!r} under WSGI"
    return WrongColour(found="async", wanted="sync", what=what, kind="function")


def refresh(health: Health) -> None:
    """Run what is due, in threads, and wait for it at most :data:`PATIENCE`."""
    threads = [
        threading.Thread(target=_run, args=(health, check), name=f"check {check.name}", daemon=True)
        for check in health.begin(time.monotonic())
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


async def refresh_async(health: Health, tasks: set[asyncio.Task[None]]) -> None:
    """`refresh` on the running loop; ``tasks`` holds those that outlive the wait."""
    started = {asyncio.create_task(_run_async(health, check)) for check in health.begin(time.monotonic())}
    if started:
        tasks |= started
        for task in started:
            task.add_done_callback(tasks.discard)
        await asyncio.wait(started, timeout=PATIENCE)  # which leaves them running


def _run(health: Health, check: Check) -> None:
    error: str | None
    try:
        result = check.call()
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise _coroutine_under_wsgi(check)
        error = _judge(result)
    except BaseException as failure:  # noqa: BLE001  # whatever a check raises, it has failed
        error = type(failure).__name__
    _settle(health, check, error)


async def _run_async(health: Health, check: Check) -> None:
    result: object
    error: str | None = "cancelled"
    try:
        if inspect.iscoroutinefunction(check.call):
            result = check.call()
        else:
            # No time-out around the thread: it cannot be stopped, and while it runs no second one may start.
            # The report counts it as failed once it is over its time.
            result, raised = await asyncio.wrap_future(_in_thread(check.call))
            if raised is not None:
                error = raised
                return
        if inspect.isawaitable(result):
            async with asyncio.timeout(check.timeout):
                result = await result
        error = _judge(result)
    except TimeoutError:
        error = "timeout"
    except (Exception, SystemExit) as failure:  # noqa: BLE001  # whatever a check raises, it has failed
        error = type(failure).__name__
    finally:
        _settle(health, check, error)


def _judge(result: object) -> str | None:
    return "returned False" if result is False else None


def _settle(health: Health, check: Check, error: str | None) -> None:
    if health.finish(check, time.monotonic(), error):
        if error is None:
            _log.info("health: check %s passes", check.name)
        else:
            _log.warning("health: check %s fails: %s", check.name, error)


def _in_thread(call: Callable[[], object]) -> Future[tuple[object, str | None]]:
    """What ``call`` returns, and the class of what it raises instead."""
    future: Future[tuple[object, str | None]] = Future()
    future.set_running_or_notify_cancel()  # from here on a cancelled waiter leaves the future alone

    def work() -> None:
        outcome: tuple[object, str | None]
        try:
            outcome = call(), None
        except BaseException as failure:  # noqa: BLE001  # as a value: no future can carry a StopIteration
            outcome = None, type(failure).__name__
        future.set_result(outcome)

    threading.Thread(target=work, name="check", daemon=True).start()
    return future
