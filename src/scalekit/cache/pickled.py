"""Pickled results, for who asks for them: signed, and the signature is checked before anything is unpickled.

Rules:

* Bytes that are not signed with one of the keys, for this function, are as if they were not there: no pickle
  of anybody else's is ever loaded.
* The newest key signs; all of the ring verify. A key that leaves the ring makes what it signed a miss.
* A signature does not say under which key of the back end the bytes belong: who can write there can put one
  result of a function in the place of another of its results.
* An object of the ORM is refused, however deep: it belongs to a session.
"""

import hmac
import io
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec

from scalekit._signing import key_ring, macs
from scalekit.cache.annotations import is_mapped, why_not
from scalekit.cache.untyped import Buffer
from scalekit.types import SecretKey

_SIGNATURE = 43  # characters of base64

# What unpickling raises when a class has moved or has other attributes now.
_UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> None:
        if is_mapped(type(obj)):
            raise TypeError(f"it holds {why_not(type(obj))}")


class Pickled:
    """Reads and writes what only pickle can.

    Raises:
        ConfigurationError: of the ring of secrets.
    """

    def __init__(self, secret_key: SecretKey, *, name: str) -> None:
        ring = key_ring(secret_key, option="pickle_key")
        self._macs = macs(ring, salt=f"scalekit.cache.pickle:{name}")

    def write(self, result: Any) -> Iterator[bytes]:
        data = io.BytesIO()
        try:
            _Pickler(data, protocol=5).dump(result)
        except (pickle.PicklingError, AttributeError) as error:
            raise TypeError(str(error)) from None
        pickled = data.getvalue()
        yield self._macs[0](pickled) + pickled

    def read(self, payload: Buffer) -> Any:
        signed = memoryview(payload)
        signature, pickled = bytes(signed[:_SIGNATURE]), signed[_SIGNATURE:]
        if not any(hmac.compare_digest(mac(pickled), signature) for mac in self._macs):
            raise msgspec.DecodeError("not signed with one of the keys")
        try:
            return pickle.loads(pickled)  # noqa: S301  # signed by this application
        except _UNREADABLE as error:
            raise msgspec.DecodeError(f"cannot be unpickled now: {error}") from None
