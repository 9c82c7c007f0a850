"""When a replica is read from, and when again. Pure.

Rules:

* One that lags too much is left out. It comes back at a much smaller lag: at the same one it would come and
  go, and take a part of the visitors along each time.
* One that was out, or whose server process is a new one, is read from again when it has all that was
  committed before it returned, too. Its lag alone may still be growing then.
* Without a primary nobody can tell who is behind, and old data are better than none to those who were
  promised nothing newer.
* It comes back gradually, with cold caches and an empty pool: its share of the reads grows over a while.
  Where there is no other, the primary keeps the rest as far as it takes over reads. Each visitor moves once,
  and who is nobody in particular moves with their process.
"""

from math import inf

from scalekit.database.history import History
from scalekit.database.reasons import CatchingUp, Reason, Unsettled
from scalekit.database.report import Health

_LEAST = 0.02


def lags(
    one: Health, *, history: History, watched: bool, max_lag: float, readmit_lag: float
) -> Reason | None:
    """Why a healthy replica is not read from; ``None`` when it may be.

    Args:
        one: the replica, which has answered.
        history: the primary's positions.
        watched: there is a primary now.
        max_lag: seconds of lag beyond which a replica is left out.
        readmit_lag: seconds of lag beyond which one that is out stays out.
    """
    if one.report is None:
        return Unsettled("has not answered yet")
    lag = history.lag(one.report.reached)
    if lag == inf and not history.reaches_back(max_lag, epoch=one.report.epoch):
        # As when the process starts, or has heard of a promotion, and not yet of the new primary.
        return CatchingUp("is behind all that this process has seen of its primary so far")
    if lag is not None and lag > max_lag:
        return Reason(f"lags more than {max_lag:g} s behind")
    if not one.away or not watched or lag is None:
        return None
    if lag > readmit_lag:
        return CatchingUp(f"was out, and catches up: {lag:.1f} s behind, until it is {readmit_lag:g} s")
    until = history.complete_until(one.report.reached.furthest)
    if one.returned is not None and (until is None or until < one.returned):
        return CatchingUp("was out, and has not yet all that was committed before it returned")
    return None


def settle(one: Health, *, reads: bool) -> bool:
    """Remember whether the replica is read from now; whether it is out and was not before."""
    if reads:
        # Who was only not known well enough when the process began is not cold.
        if one.away and one.report is not None and (one.served or one.returned is not None):
            one.admitted = one.report.asked
        one.away, one.served = False, True
        return False
    ejected = not one.away and (one.report is not None or one.failure is not None)
    one.away |= ejected
    return ejected


def share(admitted: float, *, now: float, ramp: float) -> float:
    """The part of its reads that a replica gets, above 0 and up to 1.

    Args:
        admitted: when it was admitted again, on the monotonic clock.
        now: the time on the same clock.
        ramp: seconds until it gets all.
    """
    since = now - admitted
    return 1.0 if since >= ramp else max(_LEAST, since / ramp)
