"""What is owed to a back end that was away, and when it is not believed: without one."""

from scalekit.cache.debts import OUTAGE, Debts, Outage


def test_what_is_owed_once_more_meanwhile_still_is() -> None:
    """15. A tag that is dropped again while the first drop is under way may have come too late for it."""
    debts = Debts()
    debts.owe(keys=["k"], tags=["a", "b"])
    keys, tags = debts.copy()
    debts.owe(tags=["b"])
    debts.paid(keys, tags)
    assert not debts.concern("k", ["a", "other"])
    assert debts.concern("k", ["other", "b"])
    assert debts
    debts.paid(*debts.copy())
    assert not debts


def test_one_at_a_time_makes_up_for_it() -> None:
    """However many reads and invalidations find that something is owed."""
    debts = Debts()
    assert not debts.begin()
    debts.owe(keys=["k"])
    assert [debts.begin(), debts.begin()] == [True, False]
    assert debts.go_on()
    debts.paid(*debts.copy())
    assert not debts.go_on()
    debts.owe(keys=["k"])
    assert debts.begin()


def test_a_child_starts_with_nobody_at_it() -> None:
    """After fork() the thread that was to pay is the parent's alone; what is owed is owed by both."""
    debts = Debts()
    debts.owe(keys=["k"])
    assert debts.begin()
    debts.forked()
    assert debts.begin()


def test_an_outage_is_longer_than_a_hiccup() -> None:
    """15. From the first failure to the last, a second, with no answer in between; it ends with an answer."""
    now = 100.0
    outage = Outage(clock=lambda: now)
    assert outage.seconds is None
    outage.failed()
    now += OUTAGE - 0.01
    outage.failed()
    assert outage.seconds is None
    now += 0.01
    outage.failed()
    now += 5
    assert outage.seconds == OUTAGE + 5
    outage.answered()
    assert outage.seconds is None
    outage.failed()
    assert outage.seconds is None
