"""Telling people what a promotion has cost, as far as anybody here knows."""

import logging

from scalekit.database.promotions import Promotion

_log = logging.getLogger("scalekit.database")


def tell_losses(promotion: Promotion) -> None:
    """Into the log: nothing was lost, or something was, or nobody can tell."""
    if promotion.lost is False:
        return
    if not promotion.timeline:
        _log.error(
            "%s took the place of the primary without all that had been acknowledged here; what it lacks is "
            "lost. Semi-synchronous replication, on Aurora synchronous_commit=on, prevents that",
            promotion.member,
        )
        return
    at = f"{promotion.member} was promoted to timeline {promotion.timeline}"
    if promotion.position is None:
        _log.warning("%s; whether commits that were acknowledged here are lost, nobody here can tell", at)
    elif promotion.lost:
        _log.error(
            "%s at %s without all of the old primary's log: what was committed in its last %d bytes is lost, "
            "though it was acknowledged; synchronous_standby_names prevents that",
            at, promotion.position, promotion.behind,
        )  # fmt: skip
    else:
        _log.warning(
            "%s at %s without all of the old primary's log: of what was acknowledged here in its last %d "
            "bytes, something may be lost",
            at, promotion.position, promotion.behind,
        )  # fmt: skip
