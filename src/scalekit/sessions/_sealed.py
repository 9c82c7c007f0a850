"""What :class:`~scalekit.sessions.encryption.EncryptedStore` has written, met by a server that has none.

Such a session can be neither read nor saved to, and must not be taken for a new one: it is an outage, which
ends when the store is wrapped. Nothing here needs the package that encrypts.
"""

import logging
from operator import itemgetter

from scalekit.errors import DecryptionFailed
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.store import Loaded

MARK = b"\xc1"
"""What a sealed value begins with: the one byte that MessagePack never uses."""

CURE = "wrap the store in EncryptedStore(store, keys=...), as on the server that wrote it"

_ID = 64  # digits; the id of a successor is longer if it is sealed

_log = SparingLog()
_first = itemgetter(0)


def refuse_sealed(id: str, loaded: Loaded) -> None:
    """Raise :class:`DecryptionFailed` if anything of a session is sealed; logged once a minute."""
    if not _is_sealed(loaded):
        return
    # Eight digits find the session for whoever looks into the store, and are of no use for anything else.
    reason = f"session {id[:8]}... is encrypted; {CURE}"
    _log.log(logging.ERROR, "session %s... is encrypted; %s", id[:8], CURE)
    raise DecryptionFailed(reason, backend="the session store", why="key")


def _is_sealed(loaded: Loaded) -> bool:
    if loaded.ended:
        return loaded.alias and loaded.successor is not None and len(loaded.successor) > _ID
    if loaded.user is not None and loaded.user[:1] == MARK:
        return True
    values = loaded.fields.values()
    try:
        return MARK[0] in map(_first, values)  # this is what a request waits for
    except IndexError:  # an empty one, which something else has stored
        return any(data[:1] == MARK for data in values)
