"""Key rings."""

import base64
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import BadSignature

from scalekit._signing import Mac, key_ring, signer
from scalekit.errors import ConfigurationError

OLD, NEW = "old secret, long enough", b"new secret, long enough"


def test_one_secret_is_a_ring() -> None:
    """A str or bytes is a ring of one key."""
    assert key_ring(OLD) == [OLD.encode()]
    assert key_ring(NEW) == [NEW]


def test_rings_keep_their_order() -> None:
    """A ring is oldest first, of str, bytes or both, from any iterable."""
    assert key_ring([OLD, NEW.decode()]) == [OLD.encode(), NEW]
    assert key_ring(key for key in (NEW, OLD.encode())) == [NEW, OLD.encode()]


def test_an_empty_ring_is_refused() -> None:
    """Without a key nothing can be signed: an error at start-up."""
    with pytest.raises(ConfigurationError, match="empty"):
        key_ring([])


def test_a_short_key_is_refused_without_being_quoted() -> None:
    """A key under 16 bytes is refused; the message counts and does not show it."""
    with pytest.raises(ConfigurationError) as caught:
        key_ring([OLD, "hunter2"])
    assert "secret_key number 2 has 7 bytes" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^SECRET_KEY has 7 bytes, at least 16 are needed"):
        key_ring("hunter2", option="SECRET_KEY")  # one alone has no number


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "secret_key is None; is the variable set"),
        (12345678901234567890, "secret_key must be str, bytes or a list of them, not int"),
        ([OLD, None], "secret_key number 2 must be str or bytes, not NoneType"),
        ([bytearray(b"hunter2")], "secret_key number 1 must be str or bytes, not bytearray"),
    ],
)
def test_what_is_no_key_is_refused_by_its_type(given: Any, message: str) -> None:
    """An unset variable, or anything but text, is an error at start-up that names the type alone."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        key_ring(given)
    assert "hunter2" not in str(caught.value)


def test_the_last_key_signs_and_all_verify() -> None:
    """Rotation: signatures of the old key pass while it is in the ring, and fail when it has left."""
    signed = signer(OLD, salt="test").sign("value")
    ring = signer([OLD, NEW.decode()], salt="test")
    assert ring.unsign(signed) == b"value"
    assert signer(NEW, salt="test").unsign(ring.sign("value")) == b"value"
    with pytest.raises(BadSignature):
        signer(NEW, salt="test").unsign(signed)


def test_a_salt_separates_pieces() -> None:
    """A signature made for one piece is none in another."""
    signed = signer(OLD, salt="scalekit.sessions").sign("value")
    with pytest.raises(BadSignature):
        signer(OLD, salt="scalekit.database").unsign(signed)


@given(key=st.binary(min_size=16, max_size=200), data=st.binary(max_size=300))
def test_a_mac_is_the_hmac_of_the_standard_library(key: bytes, data: bytes) -> None:
    """Whatever the key's length; and one that was used before gives the same again."""
    mac = Mac(key)
    expected = base64.urlsafe_b64encode(hmac.digest(key, data, "sha256")).rstrip(b"=")
    assert mac(data) == mac(data) == expected
