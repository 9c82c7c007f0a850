"""The checkers of the proof find what they are there for, and nothing else: they are able to fail."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from examples.bigevent import checkers
from examples.bigevent.history import Event, Failure, Final
from examples.bigevent.violations import CHECKERS, FAIL_OVER, Violation, attribute, counts

Check = Callable[[Sequence[Event]], list[Violation]]


class History(list[Event]):
    """Events of one user after another, a second apart."""

    def add(
        self, what: Any, key: str = "", value: Any = None, *, user: str = "ann", **more: Any
    ) -> "History":
        at = float(len(self))
        values = {"began": at, "ended": at + 0.5} | more
        self.append(Event(user=user, what=what, key=key, value=value, **values))
        return self


def found(check: Check, history: History) -> list[str]:
    return [f"{violation.user}: {violation.text}" for violation in check(history)]


# Acknowledged writes.


def lost(history: History, final: Final) -> list[str]:
    return [violation.text for violation in checkers.acknowledged_writes(history, final)]


def test_a_write_that_is_not_there_at_the_end() -> None:
    """An acknowledged version that the primary does not have, or an older one, is lost."""
    history = History().add("write", "account/profile", 3).add("write", "review/aloe", 1)
    whole = Final(versions={("ann", "account/profile"): 3, ("ann", "review/aloe"): 1})
    assert lost(history, whole) == []
    older = Final(versions={("ann", "account/profile"): 2, ("bob", "review/aloe"): 1})
    assert lost(history, older) == ["account/profile 3", "review/aloe 1"]


def test_an_order_that_is_not_there_at_the_end() -> None:
    """An order that is gone, is another's, or has lost a line, is lost."""
    history = History().add("checkout", "o1", ("a", "b"))
    for orders, text in (
        ({"o1": ("ann", frozenset("ab"))}, []),
        ({}, ["order o1"]),
        ({"o1": ("bob", frozenset("ab"))}, ["order o1"]),
        ({"o1": ("ann", frozenset("a"))}, ["order o1"]),
    ):
        assert lost(history, Final(orders=orders)) == text


def test_what_was_not_acknowledged_need_not_be_there() -> None:
    """Unclear and refused writes bind nobody, and they may be there all the same."""
    history = History().add("write", "account/profile", 1, outcome="unclear")
    history.add("checkout", "o1", (), outcome="unclear").add("checkout", "o2", (), outcome="anonymous")
    assert lost(history, Final()) == []
    there = Final(versions={("ann", "account/profile"): 1}, orders={"o1": ("ann", frozenset())})
    assert lost(history, there) == []


def test_a_photo_that_is_not_recorded_at_the_end() -> None:
    """An acknowledged upload whose record is gone, or another user's, is lost, whatever the storage has."""
    history = History().add("upload", "k1", "abc").add("upload", "k2", "abc", outcome="unclear")
    assert lost(history, Final(photos={"k1": "ann"})) == []
    assert lost(history, Final()) == ["photo k1"]
    assert lost(history, Final(photos={"k1": "bob"})) == ["photo k1"]


# What can be seen at the end.


@pytest.mark.parametrize(
    ("what", "key", "text"),
    [
        ("cart", "", "it cannot be seen at the end"),
        ("read", "account/", "account/ cannot be read at the end"),
        ("download", "k1", "k1 cannot be had at the end"),
    ],
)
def test_what_cannot_be_looked_at_at_the_end(what: str, key: str, text: str) -> None:
    """In the middle of the run something may be broken; at the end nothing is, and who could not look has not
    seen that all is there."""
    history = History().add("upload", "k1", "abc")
    whole = Final(photos={"k1": "ann"})
    assert checkers.shown_by(history.add(what, key, outcome="unclear"), whole) == []
    history.add(what, key, outcome="unclear", final=True)
    assert [violation.text for violation in checkers.shown_by(history, whole)] == [text]


# Stale reads.


def test_a_read_that_is_older_than_ones_own_write() -> None:
    """Of several writes the newest counts, whatever was read in between."""
    history = History().add("write", "account/profile", 1).add("write", "account/profile", 2)
    history.add("read", "account/", {"account/profile": 2})
    assert found(checkers.stale_reads, history) == []
    history.add("read", "account/", {"account/profile": 1})
    assert found(checkers.stale_reads, history) == ["ann: account/profile, written 1.50 s before"]


def test_an_order_that_is_not_listed_yet() -> None:
    """An acknowledged order belongs into the account, even where nothing else was written."""
    history = History().add("checkout", "o1", ()).add("read", "account/", {})
    assert found(checkers.stale_reads, history) == ["ann: account/order/o1, written 0.50 s before"]


def test_a_read_says_nothing_of_what_it_does_not_cover() -> None:
    """Another product's reviews, another user's write, a write that is unclear, a read without an answer."""
    history = History().add("write", "review/aloe", 1).add("read", "review/ivy", {"review/ivy": 0})
    history.add("read", "review/aloe", {}, user="bob")
    history.add("write", "account/profile", 1, outcome="unclear").add("read", "account/", {})
    history.add("read", "review/aloe", {}, outcome="unclear")
    assert found(checkers.stale_reads, history) == []


def test_a_page_that_is_not_there_shows_no_write() -> None:
    """404 is an answer, and older than what was written; who has written nothing has lost nothing."""
    history = History().add("read", "review/aloe", outcome="missing").add("write", "review/aloe", 1)
    assert found(checkers.stale_reads, history) == []
    history.add("read", "review/aloe", outcome="missing")
    assert found(checkers.stale_reads, history) == ["ann: review/aloe, written 0.50 s before"]


def test_one_read_is_one_violation() -> None:
    """However much of it is old."""
    history = History().add("write", "account/profile", 1).add("checkout", "o1", ())
    assert len(checkers.stale_reads(history.add("read", "account/", {}))) == 1


# Other users' data.


def test_data_of_another_user() -> None:
    """Each other user in an answer is one violation; one's own data are none."""
    history = History().add("cart", value=("ann-1",), seen=("ann",))
    assert found(checkers.other_users, history) == []
    history.add("cart", value=("bob-1",), seen=("ann", "bob"))
    assert found(checkers.other_users, history) == ["ann: saw bob"]


# Carts.


def test_a_cart_that_loses_an_item() -> None:
    """It is missed once, in the cart or in the order."""
    history = History().add("put", "a").add("put", "b").add("cart", value=("a", "b"))
    assert found(checkers.carts, history) == []
    history.add("cart", value=("b",)).add("cart", value=("b",)).add("checkout", "o1", ())
    assert found(checkers.carts, history) == [
        "ann: a is missing from the cart",
        "ann: b is missing from the checkout",
    ]


def test_an_item_that_comes_back() -> None:
    """What was ordered does not lie in the cart again."""
    history = History().add("put", "a").add("checkout", "o1", ("a",)).add("cart", value=("a",))
    assert found(checkers.carts, history) == ["ann: a came back"]


def test_an_unclear_put_may_show_or_not() -> None:
    """At once, later, or never; and from where it has shown it stays."""
    history = History().add("put", "a", outcome="unclear").add("cart", value=()).add("cart", value=("a",))
    assert found(checkers.carts, history) == []
    assert found(checkers.carts, history.add("cart", value=())) == ["ann: a is missing from the cart"]


def test_a_put_whose_first_attempt_was_unclear_may_come_back() -> None:
    """That attempt may arrive after the order; acknowledged it is all the same."""
    history = History().add("put", "a", doubt=True)
    assert found(checkers.carts, History(history).add("cart", value=())) == [
        "ann: a is missing from the cart"
    ]
    history.add("checkout", "o1", ("a",)).add("cart", value=("a",))
    assert found(checkers.carts, history) == []


def test_what_came_back_late_may_go_as_late() -> None:
    """The first attempts of a put and of a check-out, both acknowledged at the second, arrive after them."""
    history = History().add("put", "a", doubt=True).add("checkout", "o1", ("a",), doubt=True)
    history.add("cart", value=("a",)).add("cart", value=())
    assert found(checkers.carts, history) == []


def test_an_unclear_check_out_leaves_both_open() -> None:
    """The cart may be as it was, or empty; and what a second one orders may be what the first one has."""
    history = History().add("put", "a").add("checkout", "o1", outcome="unclear")
    for shown in ((), ("a",)):
        assert found(checkers.carts, History(history).add("cart", value=shown)) == []
    assert found(checkers.carts, History(history).add("checkout", "o2", ("a",))) == []


def after_an_unclear_check_out(*shown: str, ordered: str = "") -> list[str]:
    """What is found where the cart shows this at the end, and the order has that."""
    history = History().add("put", "a").add("put", "b").add("checkout", "o1", outcome="unclear")
    history.add("cart", value=shown, final=True)
    final = Final(orders={"o1": ("ann", frozenset(ordered))} if ordered else {})
    return [violation.text for violation in checkers.carts(history, final)]


def test_an_unclear_check_out_loses_nothing() -> None:
    """What was in the cart is in it still, or in the order; or in both, for a while; but not in neither."""
    assert after_an_unclear_check_out("a", "b") == []
    assert after_an_unclear_check_out(ordered="ab") == []
    assert after_an_unclear_check_out("a", "b", ordered="ab") == []
    assert after_an_unclear_check_out("b") == ["a is neither in the cart nor in an order"]
    assert after_an_unclear_check_out("b", ordered="b") == ["a is neither in the cart nor in an order"]


def test_an_unclear_check_out_may_come_late() -> None:
    """After the cart was seen as it had been, and with what was put in since; then the order has it."""
    history = History().add("put", "a").add("checkout", "o1", outcome="unclear")
    history.add("cart", value=("a",)).add("put", "b").add("cart", value=())
    late = Final(orders={"o1": ("ann", frozenset("ab"))})
    assert checkers.carts(history, late) == []
    assert len(checkers.carts(history, Final())) == 2


def test_a_check_out_that_was_tried_again_empties_the_cart() -> None:
    """It was acknowledged: what it ordered is not in the cart any more, whatever became of the first try."""
    history = History().add("put", "a").add("checkout", "o1", ("a",), doubt=True).add("cart", value=("a",))
    assert found(checkers.carts, history) == ["ann: a came back"]


def test_what_was_refused_changes_no_cart() -> None:
    """Who is not logged in has put nothing in."""
    history = History().add("put", "a", outcome="anonymous").add("cart", value=())
    assert found(checkers.carts, history) == []
    assert found(checkers.carts, history.add("cart", value=("a",))) == ["ann: a came back"]


# Uploads.


def test_an_upload_that_is_gone_or_another() -> None:
    """404, and bytes with another checksum; one that cannot be had now is neither."""
    history = History().add("upload", "k1", "abc").add("download", "k1", "abc")
    history.add("download", "k1", outcome="unclear").add("download", "k2", outcome="missing")
    assert found(checkers.uploads, history) == []
    history.add("download", "k1", outcome="missing").add("download", "k1", "abd")
    assert found(checkers.uploads, history) == ["ann: k1 is gone", "ann: k1 is another"]


# Assets.


def test_a_dead_asset() -> None:
    """404, and the file of another release."""
    history = History().add("asset", "http://cdn/static/a.js", True)
    assert found(checkers.dead_assets, history) == []
    history.add("asset", "http://cdn/static/a.js", outcome="missing")
    history.add("asset", "http://cdn/static/b.js", False)
    assert found(checkers.dead_assets, history) == [
        "ann: http://cdn/static/a.js is not there",
        "ann: http://cdn/static/b.js is another release's",
    ]


def test_pages_that_go_on_to_name_a_cdn_that_is_down() -> None:
    """For a while a page may; later it must not, until that CDN has answered again."""
    history = History()

    def asked(at: float, outcome: str) -> None:
        history.add("asset", "http://cdn/static/a.js", True, outcome=outcome, page=at, ended=at)

    asked(0.0, "unclear")
    asked(checkers.NOTICE, "unclear")
    assert found(checkers.dead_assets, history) == []
    asked(checkers.NOTICE + 1, "unclear")
    assert found(checkers.dead_assets, history) == ["ann: http://cdn/static/a.js: nobody answers"]
    asked(checkers.NOTICE + 2, "done")
    asked(checkers.NOTICE + 3, "unclear")
    assert len(checkers.dead_assets(history)) == 1


def test_an_address_that_is_dead_at_a_cdn_that_answers() -> None:
    """For one file alone nobody answers, again and again: that is no CDN that is down."""
    history = History()

    def asked(name: str, outcome: str) -> None:
        history.add("asset", f"http://cdn/static/{name}", True, outcome=outcome, page=float(len(history)))

    for _ in range(checkers.TRIES - 1):
        asked("a.js", "unclear")
        asked("b.js", "done")
    assert found(checkers.dead_assets, history) == []
    asked("a.js", "unclear")
    assert found(checkers.dead_assets, history) == ["ann: http://cdn/static/a.js: nobody answers"]
    asked("a.js", "done")
    asked("a.js", "unclear")
    assert len(checkers.dead_assets(history)) == 1


def test_a_cdn_that_is_down_fails_for_every_address() -> None:
    """Several failures of one address within `NOTICE` are of the CDN, and not of the address."""
    history = History()
    for name in "aabbaa":
        history.add("asset", f"http://cdn/static/{name}.js", True, outcome="unclear", page=0.0)
    assert found(checkers.dead_assets, history) == []


# Log-ins.


def test_a_log_in_that_is_lost() -> None:
    """Who had logged in is asked to do so again; each time counts once."""
    history = History().add("page", outcome="anonymous").add("login").add("cart", value=())
    assert found(checkers.lost_logins, history) == []
    history.add("put", "a", outcome="anonymous").add("page", outcome="anonymous").add("login")
    assert found(checkers.lost_logins, history) == ["ann: put: not logged in"]


def test_a_log_in_that_is_unclear_is_none() -> None:
    """It may have worked or not."""
    history = History().add("login", outcome="unclear").add("cart", outcome="anonymous")
    assert found(checkers.lost_logins, history) == []


# Drains.


@pytest.mark.parametrize(
    ("failure", "count"),
    [
        (Failure(5.0, "502", 8001), 1),
        (Failure(10.5, "502", 8001), 1),
        (Failure(5.0, "502", 8002), 0),
        (Failure(3.0, "502", 8001), 0),
        (Failure(5.0, "503", 8001), 0),
        (Failure(5.0, "closed", 8001), 1),
    ],
)
def test_a_request_that_a_drain_has_cost(failure: Failure, count: int) -> None:
    """The server was told to leave, and nginx had no answer of it, or not all of one. A single error is not
    that."""
    assert len(checkers.lost_by_drains([failure], [(8001, 4.0, 10.0)])) == count


def test_a_drain_that_has_not_ended() -> None:
    """One that lasts beyond the end of the run counts like others."""
    assert len(checkers.lost_by_drains([Failure(99.0, "502", 8001)], [(8001, 4.0, math.inf)])) == 1


def test_a_server_that_leaves_and_answers_with_errors() -> None:
    """Several, and from it alone: it has closed what it answers with. Where others answer the same, something
    else is broken."""
    alone = [Failure(5.0, "503", 8001), Failure(5.2, "503", 8001)]
    drains = [(8001, 4.0, 10.0)]
    assert len(checkers.lost_by_drains(alone, drains)) == 2
    assert checkers.lost_by_drains([*alone, Failure(7.0, "503", 8002)], drains) == []
    assert len(checkers.lost_by_drains([*alone, Failure(9.0, "503", 8002)], drains)) == 2


# Fail-overs of Redis.


def test_what_a_fail_over_of_redis_may_lose_has_a_name_of_its_own() -> None:
    """Only a change of a session that was acknowledged just before; what was written earlier or later, or
    elsewhere, is what it is."""
    history = History().add("put", "a", ended=10.0).add("put", "b", ended=100.0).add("cart", value=())
    violations = [
        *checkers.carts(history),
        *checkers.stale_reads(History().add("write", "account/profile", 1).add("read", "account/", {})),
    ]
    for lost_at, after in (([101.0], 1), ([103.0], 0), ([99.0], 0), ([], 0), ([10.5, 100.5], 2)):
        counted = counts(attribute(violations, lost_at))
        assert counted[FAIL_OVER] == after
        assert counted["carts"] == 2 - after
        assert counted["stale reads"] == 1


def test_every_checker_is_counted() -> None:
    """Those that have found nothing say so."""
    assert counts([]) == dict.fromkeys(CHECKERS, 0)
    named = {FAIL_OVER, "requests of drained servers"}
    history = History().add("login").add("put", "a").add("upload", "k", "x").add("write", "account/p", 1)
    history.add("cart", value=(), seen=("bob",)).add("download", "k", outcome="missing")
    history.add("read", "account/", {}).add("asset", "http://cdn/x", outcome="missing")
    history.add("cart", outcome="anonymous")
    named |= {violation.checker for violation in checkers.shown_by(history, Final())}
    assert named == set(CHECKERS)


def test_users_are_told_apart_in_a_history_that_mixes_them() -> None:
    """What several users did at the same time is checked for each of them."""
    history = History().add("put", "a").add("put", "b", user="bob").add("cart", value=("a",))
    history.add("cart", value=(), user="bob")
    assert found(checkers.carts, history) == ["bob: b is missing from the cart"]
