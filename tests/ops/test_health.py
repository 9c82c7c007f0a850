"""The rules of readiness, with a clock that stands still."""

import json
import os
import warnings
from datetime import timedelta

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Check, Health


def ok() -> None: ...


def test_no_checks_is_ready() -> None:
    """A server without dependencies is ready as soon as it answers."""
    report = Health().report(0.0)
    assert report.ready
    assert json.loads(report.body) == {"status": "ready", "checks": {}}


def test_starting_until_required_checks_have_run() -> None:
    """Before its first results a server gets no traffic; optional checks do not hold it back."""
    required, optional = Check("database", ok), Check("redis", ok, required=False)
    health = Health([required, optional])
    assert health.report(0.0).status == "starting"
    assert health.begin(0.0) == [required, optional]
    health.finish(required, 0.1, None)
    assert health.report(0.1).status == "ready"


def test_required_failure_flips_and_optional_does_not() -> None:
    """Only a required check makes the server unavailable; an optional one is reported."""
    required, optional = Check("database", ok), Check("redis", ok, required=False)
    health = Health([required, optional])
    health.begin(0.0)
    health.finish(required, 0.0, None)
    health.finish(optional, 0.0, "ConnectionError")
    report = health.report(0.0)
    assert report.status == "ready"
    assert json.loads(report.body)["checks"]["redis"]["error"] == "ConnectionError"

    health.begin(10.0)
    health.finish(required, 10.0, "ConnectionError")
    health.finish(optional, 10.0, None)
    assert health.report(10.0).status == "unavailable"


def test_draining_wins() -> None:
    """A server that drains says so, whatever its checks say."""
    assert Health().report(0.0, draining=True).status == "draining"


def test_single_flight_and_ttl() -> None:
    """A check runs once at a time, and again only when its result is older than its ttl."""
    check = Check("database", ok, ttl=5)
    health = Health([check])
    assert health.begin(0.0) == [check]
    assert health.begin(0.0) == []
    health.finish(check, 1.0, None)
    assert health.begin(5.9) == []
    assert health.begin(6.0) == [check]


def test_the_last_result_stands_while_a_new_run_is_under_way() -> None:
    """A stale result is used until the new one is there or over its time."""
    check = Check("database", ok, ttl=5, timeout=1)
    health = Health([check])
    health.begin(0.0)
    health.finish(check, 0.0, None)
    health.begin(5.0)
    assert health.report(5.9).ready
    assert health.report(6.0).status == "unavailable"


def test_a_hung_check_fails_and_is_not_started_again() -> None:
    """A check that never returns fails at its timeout; no second run piles up behind it."""
    check = Check("database", ok, timeout=1)
    health = Health([check])
    health.begin(0.0)
    report = health.report(100.0)
    assert report.status == "unavailable"
    assert json.loads(report.body)["checks"]["database"]["error"] == "timeout"
    assert health.begin(100.0) == []


def test_a_fork_asks_for_itself() -> None:
    """A check under way in a thread of the parent never comes back to a child, which begins it anew."""
    check = Check("database", lambda: None)
    health = Health([check])
    assert health.begin(0.0) == [check]
    assert health.begin(0.0) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if health.begin(0.0) == [check] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert health.begin(0.0) == []


def test_a_late_result_is_a_failure_and_the_next_one_counts() -> None:
    """What comes in after the timeout failed; a later run in time passes again."""
    check = Check("database", ok, timeout=1, ttl=5)
    health = Health([check])
    health.begin(0.0)
    assert health.finish(check, 2.0, None)
    assert health.report(2.0).status == "unavailable"
    health.begin(7.0)
    assert health.finish(check, 7.5, None)
    assert health.report(7.5).ready


def test_finish_tells_news_from_repetition() -> None:
    """Only the first result and a changed one are news, so that a long outage is logged once."""
    check = Check("database", ok, ttl=1)
    health = Health([check])
    news = []
    for at, error in enumerate([None, None, "OSError", "OSError", None]):
        health.begin(at * 2.0)
        news.append(health.finish(check, at * 2.0, error))
    assert news == [True, False, True, False, True]


def test_wrong_set_up_is_refused() -> None:
    """Names must be there and differ; durations must be durations."""
    with pytest.raises(ConfigurationError, match="needs a name"):
        Check("", ok)
    with pytest.raises(ConfigurationError, match="two checks are called 'a'"):
        Health([Check("a", ok), Check("a", ok)])
    for no_function, found in ((True, "bool"), ("redis://:s3cret@host", "str"), (None, "NoneType")):
        with pytest.raises(ConfigurationError, match=f"check 'a' must be given a function .*, not {found}$"):
            Check("a", no_function)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"each of checks= must be a check, .*ping\), not function$"):
        Health([Check("a", ok), ok])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match=r"checks= must be a list, not Check; .* checks=\[...\]$"):
        Health(Check("a", ok))  # type: ignore[arg-type]
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="timeout"):
            Check("a", ok, timeout=bad)
    assert Check("a", ok, ttl=timedelta(days=1, seconds=1)).ttl == 86401.0


def test_required_once_counts_until_it_has_passed() -> None:
    """Before, it holds the server back like any required one; after, it is told and does not count."""
    check = Check("database", ok, required="once", ttl=1)
    health = Health([check])
    assert health.report(0.0).status == "starting"
    for at, error, status in (
        (0.0, "OSError", "unavailable"),
        (2.0, None, "ready"),
        (4.0, "OSError", "ready"),
    ):
        health.begin(at)
        health.finish(check, at, error)
        assert health.report(at).status == status
    with pytest.raises(ConfigurationError, match="required='twice' must be True, False or 'once'"):
        Check("database", ok, required="twice")  # type: ignore[arg-type]


def test_started_is_latched_by_the_first_time_that_all_is_well() -> None:
    """Not by one check after the other, and whether or not a drain has begun."""
    one, two = Check("one", ok, ttl=1), Check("two", ok, ttl=1)
    health = Health([one, two])
    for at, errors, started in (
        (0.0, (None, "OSError"), False),
        (2.0, ("OSError", None), False),
        (4.0, (None, None), True),
    ):
        health.begin(at)
        for check, error in zip((one, two), errors, strict=True):
            health.finish(check, at, error)
        health.report(at, draining=True)
        assert health.started is started
