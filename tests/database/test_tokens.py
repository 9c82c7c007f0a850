"""Tokens and levels. No server needed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit._signing import signer
from scalekit.database import Bounded, Token, TokenSigner
from scalekit.database.tokens import Reached, latest
from scalekit.errors import ConfigurationError
from tests.database._tokens import token

SECRET = "a secret that is long enough"
names = st.text(max_size=12)
tokens = st.builds(
    Token,
    system=names,
    epoch=st.integers(0, 3),
    marks=st.dictionaries(names, st.integers(0, 2**64 - 1), min_size=1, max_size=3).map(
        lambda marks: tuple(sorted(marks.items()))
    ),
)
ours = st.builds(
    Token,
    system=st.just("mariadb:0"),
    epoch=st.integers(0, 2),
    marks=st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(0, 5), min_size=1, max_size=5).map(
        lambda marks: tuple(sorted(marks.items()))
    ),
)


@given(tokens)
def test_a_token_survives_the_browser(token: Token) -> None:
    """What is signed comes back as it was, whatever a server calls its origins."""
    signer = TokenSigner(SECRET)
    assert signer.loads(signer.dumps(token)) == token


def test_a_token_fits_into_a_cookie() -> None:
    """PostgreSQL's is short, and eight servers of MySQL with their UUIDs still are few enough."""
    signer = TokenSigner(SECRET)
    longest = token(2**32 - 1, 2**64 - 1, system=f"pg:{2**64 - 1}")
    assert len(signer.dumps(longest)) < 160
    servers = [(f"3e11fa47-71ca-11e1-9e33-c80aa942956{number}", 2**63) for number in range(8)]
    group = Token("mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562", 0, tuple(servers))
    assert signer.loads(signer.dumps(group)) == group


@given(
    st.builds(
        Token,
        system=names,
        epoch=st.integers(0, 3),
        marks=st.dictionaries(
            st.sampled_from(["-", "0-1", ":" + "é" * 20, *("abcdef"[number] * 110 for number in range(6))]),
            st.integers(0, 2**64 - 1),
            min_size=1,
            max_size=8,
        ).map(lambda marks: tuple(sorted(marks.items()))),
    )
)
def test_what_is_issued_is_accepted(token: Token) -> None:
    """1. A longer one would be ignored when it comes back: its visitor reads from the primary instead."""
    signer = TokenSigner(SECRET)
    text = signer.dumps(token)
    assert len(text) <= 832
    assert signer.loads(text) in (token, Token.unknown(token.system, token.epoch))


def test_a_token_of_tagged_transactions() -> None:
    """1. Eight servers of MySQL, with the longest tags and the highest numbers, are few enough, too."""
    origins = [f":3e11fa47-71ca-11e1-9e33-c80aa942956{number}:{'t' * 32}" for number in range(8)]
    group = Token.of("mysql", 0, {origin: 2**63 - 1 for origin in origins})
    signer = TokenSigner(SECRET)
    assert group.is_known
    assert signer.loads(signer.dumps(group)) == group
    beyond = Token.of("mysql", 0, {origin + "t" * 9: 2**63 - 1 for origin in origins})
    assert signer.loads(signer.dumps(beyond)) == Token.unknown("mysql", 0)


@given(ours, ours, ours)
def test_tokens_only_move_forward(first: Token, second: Token, third: Token) -> None:
    """Within one system the order of merging does not matter and nothing is lost."""
    merged = first.merge(second).merge(third)
    other = third.merge(first.merge(second))
    if merged.is_known:
        assert merged == other
    assert merged.is_known == other.is_known
    reached = Reached("mariadb:0", dict(merged.marks))
    for one in (first, second, third):
        assert merged.epoch >= one.epoch
        if merged.epoch == one.epoch and merged.is_known:
            assert reached.covers(one)
            assert merged.includes(one)


def test_tokens_of_two_systems() -> None:
    """They cannot be compared: the one that came later counts."""
    assert latest(token(5, 100), token(1, 1, system="pg:2")) == token(1, 1, system="pg:2")
    assert latest(None, token(1, 1)) == latest(token(1, 1), None) == token(1, 1)


def test_another_origin_is_never_a_yes() -> None:
    """20. Numbers of another timeline, server or system say nothing, however high they are."""
    far = Reached("pg:1", {"2": 2**60})
    assert not far.covers(token(1, 1))
    assert not far.covers(token(2, 1, system="pg:2"))
    assert far.covers(token(2, 2**60))
    assert not far.covers(token(2, 2**60 + 1))
    assert Reached("pg:1", {"2": 5, "1": 3}).covers(token(1, 3)), "up to where the timelines part"
    two = Token("mariadb:0", 0, (("0-1", 3), ("0-2", 9)))
    assert not Reached("mariadb:0", {"0-1": 3}).covers(two)
    assert Reached("mariadb:0", {"0-1": 4, "0-2": 9}).covers(two)


def test_nobody_has_what_is_unknown() -> None:
    """It stays unknown until a later commit, of a transaction that began after it, tells where the log is."""
    unknown = token(1, 50).merge(Token.unknown("pg:1", 1))
    assert not unknown.is_known
    assert not Reached("pg:1", {"1": 2**64}).covers(unknown)
    assert not unknown.merge(token(1, 100)).is_known
    assert unknown.followed_by(token(1, 100)) == token(1, 100)
    known = Token("mariadb:0", 0, (("0-1", 3), ("1-1", 4)))
    assert known.followed_by(Token("mariadb:0", 0, (("0-1", 5),))).marks == (("0-1", 5), ("1-1", 4))


def test_more_origins_than_a_cookie_has_room_for() -> None:
    """None of them is forgotten: the visitor reads from the primary."""
    token = Token("mariadb:0", 0, (("0-1", 1),))
    for number in range(2, 9):
        token = token.merge(Token("mariadb:0", 0, ((f"0-{number}", 1),)))
    assert token.is_known
    assert not token.merge(Token("mariadb:0", 0, (("0-9", 1),))).is_known


def test_a_merged_token_is_another_object() -> None:
    """Whoever kept the old one notices that something was added, even if it is equal."""
    old = token(1, 5)
    assert old.merge(token(1, 5)) == old
    assert old.merge(token(1, 5)) is not old


@given(st.text(max_size=200))
def test_made_up_tokens_are_ignored(text: str) -> None:
    """Whatever a browser sends that we did not sign is no token."""
    assert TokenSigner(SECRET).loads(text) is None


def test_changed_tokens_are_ignored() -> None:
    """A signature fits one token only."""
    signer = TokenSigner(SECRET)
    text = signer.dumps(token(1, 10))
    for position in range(len(text)):
        changed = text[:position] + ("1" if text[position] != "1" else "2") + text[position + 1 :]
        # The last character of base64 has bits that mean nothing.
        assert signer.loads(changed) in (None, token(1, 10) if position == len(text) - 1 else None)


def test_foreign_expired_and_huge_tokens_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key's token, one of yesterday and one of a megabyte pin nobody to the primary."""
    signer = TokenSigner(SECRET, max_age=60)
    text = signer.dumps(token(1, 10))
    assert TokenSigner("another secret, long enough").loads(text) is None
    assert signer.loads(text * 100_000) is None
    now = __import__("time").time()
    monkeypatch.setattr("scalekit.database.tokens.time.time", lambda: now + 61)
    assert signer.loads(text) is None


def test_the_signature_is_that_of_itsdangerous() -> None:
    """21. Of the newest key; older ones count, in any order of servers that are restarted one by one."""
    keys = [SECRET, "another secret that is long"]
    plain = signer(keys, salt="scalekit.database")
    text = TokenSigner(keys).dumps(token(1, 10))
    assert plain.sign(plain.unsign(text)).decode() == text
    for key in keys:
        assert TokenSigner(keys).loads(TokenSigner(key).dumps(token(1, 10))) == token(1, 10)


def test_keys_rotate() -> None:
    """A token of the old key counts while the old key is in the ring."""
    old, new = "the old secret, long enough", "the new secret, long enough"
    text = TokenSigner(old).dumps(token(1, 10))
    assert TokenSigner([old, new]).loads(text) == token(1, 10)
    assert TokenSigner([new]).loads(text) is None


def test_bounds_are_checked_when_they_are_written() -> None:
    """Bounded takes seconds or a timedelta, and nothing that cannot be met."""
    assert Bounded(timedelta(minutes=1)).seconds == Bounded(seconds=60).seconds == 60
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError):
            Bounded(wrong)


def test_where_there_is_no_token() -> None:
    """1. Nothing was written, or there is one server: the mistake is told, and what to ask before."""
    with pytest.raises(TypeError, match=r"a scope has no token before .* `if scope.token is not None`"):
        TokenSigner("a secret that is long enough").dumps(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not NoneType; where there is none, scope"):
        TokenSigner("a secret that is long enough").loads(None)  # type: ignore[arg-type]
