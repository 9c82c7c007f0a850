"""Which keys are allowed, and what becomes of the names that clients choose."""

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.errors import InvalidKey
from scalekit.storage.keys import MAX_KEY_BYTES, check_key, check_prefix, clean_filename, random_key


@pytest.mark.parametrize(
    "key", ["a", "a/b", "photos/2024/3f9c.jpg", "ä ö.txt", "写真.png", "a..b", "-", "x" * 200]
)
def test_allowed(key: str) -> None:
    """Ordinary relative paths are keys as they are."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("../secret", "dot"),
        ("a/../../b", "dot"),
        ("a/.", "dot"),
        (".env", "dot"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("..\\..\\boot.ini", "backslash"),
        ("a\x00.png", "U+0000"),
        ("a\r\nSet-Cookie: x", "U+000D"),
        ("a\x7f", "U+007F"),
        ("txt.\u202egnp", "U+202E"),
        ("a\u200b", "U+200B"),
        ("a\u2028b", "U+2028"),
        ("\ud800", "surrogate"),
        ("e\u0301", "normal form"),
        ("a ", "white space"),
        (" a", "white space"),
        ("a./b", "dot"),
        ("x" * 300, "300 bytes"),
        ("/".join(["x" * 100] * 10), "more than 900"),
        ("ä" * 101, "202 bytes"),
    ],
)
def test_refused(key: str, reason: str) -> None:
    """14. A key that could climb, hide, deceive or not fit is refused, and the error says why."""
    with pytest.raises(InvalidKey, match=reason.replace("+", r"\+")) as caught:
        check_key(key)
    assert caught.value.key == key


@given(st.text())
def test_whatever_is_allowed_stays_below_its_directory(key: str) -> None:
    """14. No allowed key, joined to a directory, leads out of it; all of it can be seen."""
    try:
        check_key(key)
    except InvalidKey:
        return
    assert ".." not in key.split("/")
    assert not key.startswith("/")
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert all(unicodedata.category(char)[0] != "C" for char in key)


@given(st.text())
def test_every_beginning_of_a_key_is_a_prefix(text: str) -> None:
    """A prefix is whatever an allowed key can start with."""
    key = f"a{text}z"
    try:
        check_key(key)
    except InvalidKey:
        return
    for end in range(len(key) + 1):
        if unicodedata.is_normalized("NFC", key[:end]):
            assert check_prefix(key[:end]) == key[:end]


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", ".", "a/.", "\x00", "a\\"])
def test_refused_prefixes(prefix: str) -> None:
    """14. A prefix that no key can start with is refused."""
    with pytest.raises(InvalidKey):
        check_prefix(prefix)


def test_random_keys() -> None:
    """Random keys have 128 bits, stand under their prefix and keep the extension they are given."""
    keys = {random_key(".png", prefix="a/") for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("a/")
        assert key.endswith(".png")
        assert len(key) == 2 + 32 + 4
        assert set(key[2:34]) <= set(string.hexdigits.lower())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("a\x00b\r\nc", "abc"),
        ("txt.\u202egnp.exe", "txt.gnp.exe"),
        ("x" * 300, "x" * 255),
        ("猫" * 255, "猫" * 213),
        ("/", ""),
    ],
)
def test_file_names_for_people(name: str, shown: str) -> None:
    """14. A client's file name loses its directories and all that cannot be seen."""
    assert clean_filename(name) == shown
