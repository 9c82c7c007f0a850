"""What people are told of members that come and go. No server needed."""

import logging

from scalekit.database.reasons import CatchingUp, Mistake, News, Reason, Silence, Suspicion, Unsettled

DETAIL, QUIET, LOUD = logging.DEBUG, logging.INFO, logging.WARNING


def test_every_change_is_told_once() -> None:
    """27. Out and why, another why, and back; not what only counts on, nor what the next answer settles."""
    news = News()
    story = [
        (Unsettled("has not answered yet"), None),
        ("replica", None),
        ("replica", None),
        (Suspicion("hung up"), (DETAIL, "one is left out: hung up")),
        ("replica", (DETAIL, "one is back, and is read from")),
        (Suspicion("hung up"), (DETAIL, "one is left out: hung up")),
        (Silence("refused"), (LOUD, "one is left out: refused")),
        (Silence("is starting up"), None),
        (CatchingUp("2.0 s behind"), (QUIET, "one is still left out: 2.0 s behind")),
        (CatchingUp("1.5 s behind"), None),
        (Unsettled("is being asked"), None),
        ("replica", (LOUD, "one is back, and is read from")),
        (Reason("lags"), (LOUD, "one is left out: lags")),
        (Reason("lags"), None),
        (Reason("is on timeline 1"), (LOUD, "one is still left out: is on timeline 1")),
        (Mistake("is another"), (LOUD, "one is still left out: is another")),
        ("primary", (LOUD, "one is back, and is the primary")),
        ("replica", (LOUD, "one is a replica now, and no primary any more")),
        ("primary", None),  # told with whose place it took
    ]
    for standing, told in story:
        assert news.of("the member", "one", standing) == told, standing  # type: ignore[arg-type]
    assert news.of("another", "two", Silence("refused")) == (LOUD, "two is left out: refused")
    news.forget("another")
    assert news.of("another", "two", Silence("refused")) == (LOUD, "two is left out: refused")
