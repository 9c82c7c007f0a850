"""The values of a session and what a save has to write."""

from typing import Any

import pytest

from scalekit.errors import SessionTooLarge, SessionValueError
from scalekit.sessions import codec
from scalekit.sessions.values import Delta, Values, check_size


def stored(**data: Any) -> dict[bytes, bytes]:
    return {key.encode(): codec.encode(key, value) for key, value in data.items()}


def changed(values: Values) -> dict[str, Any]:
    return {name.decode(): codec.decode("", data) for name, data in values.delta().changed.items()}


def test_reading_changes_nothing() -> None:
    """Values that were looked at, mutable ones too, are not written back."""
    values = Values(stored(a=1, b=[1, {"c": {2}}], d=(1, [2])))
    assert [values.get(key) for key in values] == [1, [1, {"c": {2}}], (1, [2])]
    assert not values.delta()


def test_only_what_changed_is_written() -> None:
    """A save names the keys that were set and removed, and no others."""
    values = Values(stored(a=1, b=2, c=3))
    values.put("b", 5)
    values.put("new", 6)
    values.drop("c")
    assert changed(values) == {"b": 5, "new": 6}
    assert values.delta().removed == {b"c"}


def test_a_change_deep_inside_is_noticed() -> None:
    """A list in a dict in a tuple that was handed out is written when it has changed."""
    values = Values(stored(a=({"b": [1]},), other=[1]))
    values.get("a")[0]["b"].append(2)
    values.get("other")
    assert changed(values) == {"a": ({"b": [1, 2]},)}


def test_a_change_that_is_taken_back_is_none() -> None:
    """What ends as it was is not written."""
    values = Values(stored(a=[1]))
    values.get("a").append(2)
    values.get("a").pop()
    assert not values.delta()


def test_setting_the_same_value_is_a_change() -> None:
    """Who writes last wins, also with the value that was there before."""
    values = Values(stored(a=1))
    values.put("a", 1)
    assert changed(values) == {"a": 1}


def test_a_value_may_change_after_it_was_set() -> None:
    """What is stored is the value at the time of the save."""
    values = Values()
    cart: list[str] = []
    values.put("cart", cart)
    cart.append("book")
    assert changed(values) == {"cart": ["book"]}


def test_changes_go_on_after_a_save() -> None:
    """After a save only new changes are written, those in values handed out before it included."""
    values = Values(stored(a=[1]))
    values.put("b", [1])
    values.get("a").append(2)
    values.settle(values.delta())
    assert not values.delta()
    values.get("b").append(2)
    assert changed(values) == {"b": [1, 2]}
    values.get("a").append(3)
    assert changed(values) == {"a": [1, 2, 3], "b": [1, 2]}


def test_setting_and_removing() -> None:
    """A key that was set and removed again leaves no trace, one that was removed and set is written."""
    values = Values(stored(a=1))
    values.put("b", 1)
    values.drop("b")
    assert not values.delta()
    values.drop("a")
    values.put("a", 2)
    assert (changed(values), values.delta().removed) == ({"a": 2}, set())


def test_a_removed_value_is_no_longer_watched() -> None:
    """What was removed is removed, whatever happens to the object."""
    values = Values(stored(a=[1]))
    cart = values.get("a")
    values.drop("a")
    cart.append(2)
    assert values.delta()[:2] == ({}, {b"a"})


def test_it_is_a_mapping() -> None:
    """Membership, length and iteration know what was set and removed."""
    values = Values(stored(a=1, b=2))
    values.put("c", 3)
    values.put("a", 4)
    values.drop("b")
    assert (list(values), len(values)) == (["a", "c"], 2)
    assert ("a" in values, "b" in values, "c" in values, "\ud800" in values, 5 in values) == (
        True,
        False,
        True,
        False,
        False,
    )
    for key in ("b", "never", "\ud800"):
        with pytest.raises(KeyError):
            values.get(key)
        with pytest.raises(KeyError):
            values.drop(key)


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), "\0user", "\ud800"])
def test_keys_that_cannot_be(key: Any) -> None:
    """A key is a str without a leading NUL, which marks our own fields; anything else is refused at once."""
    with pytest.raises(SessionValueError):
        Values().put(key, 1)


def test_a_foreign_field_can_be_seen_and_deleted() -> None:
    """A name that is no UTF-8 can only come from elsewhere; it breaks nothing and can be removed."""
    values = Values({b"\xff": codec.encode("", 1)})
    (key,) = values
    assert values.get(key) == 1
    values.drop(key)
    assert values.delta().removed == {b"\xff"}


def test_garbage_is_found_when_it_is_asked_for() -> None:
    """A value that cannot be read is an error that names the key; the other keys work, and it can be set."""
    values = Values({**stored(a=1), b"b": b"\xc1"})
    assert values.get("a") == 1
    with pytest.raises(SessionValueError, match="'b'"):
        values.get("b")
    values.put("b", 2)
    assert changed(values) == {"b": 2}


def test_what_others_wrote_is_taken_over() -> None:
    """Adopting a change of somebody else drops what was handed out, and does not write it back."""
    values = Values(stored(a=[1], b=1))
    values.get("a")
    values.adopt(Delta(stored(a=[1, 2]), {b"b"}))
    assert not values.delta()
    assert values.get("a") == [1, 2]
    assert "b" not in values


def test_the_size_counts_names_and_values() -> None:
    """The limit holds for the session as it would be after the save; the error names the largest new key."""
    fields = stored(old="x" * 50)
    delta = Delta(stored(small=1, large="y" * 40), set())
    size = sum(len(name) + len(data) for name, data in delta.applied(fields).items())
    check_size(fields, delta, size)
    with pytest.raises(SessionTooLarge, match="'large'") as caught:
        check_size(fields, delta, size - 1)
    assert (caught.value.key, caught.value.size, caught.value.limit) == ("large", size, size - 1)
    check_size(fields, Delta(delta.changed, {b"old"}), size - 1)


def test_a_session_over_the_limit_can_be_made_smaller() -> None:
    """After the limit was lowered, removing is always possible."""
    check_size(stored(a="x" * 100, b="y" * 100), Delta({}, {b"a"}), 10)


def test_what_is_touched_during_a_save_is_for_the_next_one() -> None:
    """A key set, set again, changed inside or removed while a delta is under way: the next delta has it."""
    values = Values(stored(a=1, b=[1], gone=1, back=1))
    values.put("a", 2)
    values.put("new", 1)
    values.get("b").append(2)
    values.drop("back")
    under_way = values.delta()
    values.put("a", 3)
    values.put("list", [1])
    values.get("b").append(3)
    values.drop("gone")
    values.drop("new")
    values.put("back", 2)
    values.settle(under_way)
    assert changed(values) == {"a": 3, "list": [1], "b": [1, 2, 3], "back": 2}
    assert values.delta().removed == {b"gone", b"new"}
    assert {key: values.get(key) for key in values} == {"a": 3, "b": [1, 2, 3], "back": 2, "list": [1]}
    assert (len(values), "gone" in values, "new" in values) == (4, False, False)
    values.settle(values.delta())
    assert not values.delta()
    assert set(values) == {"a", "b", "back", "list"}


def test_clearing_asks_for_each_key_once() -> None:
    """`clear()` removes what is stored and what was set, without reading any of it."""
    values = Values({**stored(a=1), b"garbage": b"\xc1"})
    values.put("new", 1)
    values.clear()
    assert (list(values), len(values)) == ([], 0)
    assert values.delta()[:2] == ({}, {b"a", b"garbage"})
    values.put("a", 2)
    assert values.delta()[:2] == ({b"a": codec.encode("a", 2)}, {b"garbage"})
