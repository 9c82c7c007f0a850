"""17. Sessions in cookies that their visitors cannot read."""

import base64
import sys
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, MissingExtra
from scalekit.sessions import MemoryStore
from scalekit.sessions._sealing import Ring
from scalekit.sessions.cookie import CookieStore
from scalekit.sessions.encryption import EncryptedStore
from scalekit.sessions.migration import StarletteCookie
from tests.sessions.legacy import Browser, starlette_value
from tests.sessions.shells import SECRET, Shell, Visitor

OLD, NEW = "an old key of the tests, long", "a new key of the tests, long"


def raw(cookie: str | None) -> bytes:
    assert cookie is not None
    return base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))


def test_a_visitor_cannot_read_it(shell_type: type[Shell]) -> None:
    """17. Neither values, nor their names, nor the user."""
    words = (b"Baker", b"address", b"sherlock")
    for encrypt in (False, True):
        visitor = shell_type(CookieStore(encrypt=encrypt)).visitor()
        visitor(lambda session: session.update(address="Baker Street"))
        visitor(lambda session: session.login("sherlock"))
        assert visitor(lambda session: [session.user_id, dict(session)]) == [
            "sherlock",
            {"address": "Baker Street"},
        ]
        data = raw((visitor.cookie or "").partition(".")[0])
        assert [word in data for word in words] == [not encrypt] * 3


def test_the_keys_follow_the_ring_of_the_middleware(shell_type: type[Shell]) -> None:
    """17. All of them decrypt, the last one encrypts; a cookie whose key is gone is nobody's."""
    visitor = shell_type(CookieStore(encrypt=True), secret_key=OLD).visitor()
    visitor(lambda session: session.update(a=1))
    visitor.shell = shell_type(CookieStore(encrypt=True), secret_key=[OLD, NEW])
    assert visitor(dict) == {"a": 1}
    visitor(lambda session: session.update(a=2))
    assert Visitor(shell_type(CookieStore(encrypt=True), secret_key=OLD), visitor.cookie)(dict) == {}
    assert Visitor(shell_type(CookieStore(encrypt=True), secret_key=NEW), visitor.cookie)(dict) == {"a": 2}


def test_keys_of_its_own(shell_type: type[Shell]) -> None:
    """17. The secret that signs does not open it then."""
    visitor = shell_type(CookieStore(encrypt=True, keys=[OLD, NEW])).visitor()
    visitor(lambda session: session.update(a=1))
    assert Visitor(shell_type(CookieStore(encrypt=True, keys=NEW)), visitor.cookie)(dict) == {"a": 1}
    for store in (CookieStore(encrypt=True, keys=OLD), CookieStore(encrypt=True), CookieStore()):
        assert Visitor(shell_type(store), visitor.cookie)(dict) == {}


def test_what_was_changed_is_nobody(shell_type: type[Shell]) -> None:
    """2. Each bit counts, and the bytes of another purpose with the same key are none of ours."""
    visitor = shell_type(CookieStore(encrypt=True)).visitor()
    visitor(lambda session: session.update(a=1))
    good = raw(visitor.cookie)
    stranger = Ring(SECRET, purpose="scalekit.sessions.encryption", option="keys").seal(b"x", b"session")
    for bad in (
        *(good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in range(len(good))),
        good[:-1],
        good[:4],
        b"",
        stranger,
    ):
        cookie = base64.urlsafe_b64encode(bad).rstrip(b"=").decode()
        assert Visitor(visitor.shell, cookie)(dict) == {}
    for garbage in ("A", "A A", "\x80", "===", "%00"):
        assert Visitor(visitor.shell, garbage)(dict) == {}


def test_encryption_can_be_switched_on(shell_type: type[Shell]) -> None:
    """17. It logs nobody out: what is only signed is read, and encrypted when it is sent again."""
    visitor = shell_type(CookieStore()).visitor()
    visitor(lambda session: session.update(a=1))
    visitor.shell = shell_type(CookieStore(encrypt=True))
    assert visitor(dict) == {"a": 1}
    visitor(lambda session: session.update(a=2))
    assert visitor.cookie is not None
    assert "." not in visitor.cookie
    assert visitor(dict) == {"a": 2}


def test_a_cookie_of_starlette_becomes_an_encrypted_one(shell_type: type[Shell]) -> None:
    """17, 33. Nobody is logged out, and nobody can read it any more."""
    shell = shell_type(CookieStore(encrypt=True), migrate=[StarletteCookie(secret_key=OLD)])
    browser = Browser(shell, {"session": starlette_value({"a": "plain"}, secret_key=OLD)})
    assert browser(dict) == {"a": "plain"}
    (name,) = browser.jar
    assert b"plain" not in raw(browser.jar[name])
    assert browser(dict) == {"a": "plain"}


def test_an_encrypted_store_needs_a_store() -> None:
    """17. Around a CookieStore it would encrypt nothing: the message has what does."""
    with pytest.raises(ConfigurationError, match=r"CookieStore\(encrypt=True\)"):
        EncryptedStore(CookieStore(), keys=SECRET).using("sync")
    EncryptedStore(MemoryStore(), keys=SECRET).using("sync")


def test_without_the_extra_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """17. Where it is asked for, and only if it is asked for."""
    monkeypatch.delitem(sys.modules, "scalekit.sessions._sealing")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    hidden: list[Any] = [name for name in sys.modules if name.startswith("cryptography.")]
    for name in hidden:
        monkeypatch.delitem(sys.modules, name)
    CookieStore()
    with pytest.raises(MissingExtra, match=r"pip install 'scalekit\[encryption\]'"):
        CookieStore(encrypt=True)
