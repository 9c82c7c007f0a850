"""How the checks of a back end ask it, and what they make up to ask for."""

import secrets
import time

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease, Lookup
from scalekit.cache.entry import Found, Hit, Miss, judge, pack
from scalekit.cache.versions import WRITER_BYTES

LONG = 60.0
"""Seconds; outlives the check."""


def new_lookup(*tags: str) -> Lookup:
    """Of a key that nobody else has; and of a tag, unless some are given."""
    return Lookup(f"check.entry:{secrets.token_hex(20)}", tags or (new_tag(),))


def new_tag() -> str:
    return f"check.tag:{secrets.token_hex(8)}"


def new_writer() -> bytes:
    return secrets.token_bytes(WRITER_BYTES)


def now_ms() -> int:
    return int(time.time() * 1000)


def entry_under(lease: Lease, payload: bytes = b"payload") -> bytes:
    return pack(lease.versions, made=now_ms(), delta=1, soft_end=now_ms() + 60_000, payload=payload)


def read_one(entries: Entries, lookup: Lookup) -> Steps[Found]:
    found = yield from entries.read([lookup])
    assert len(found) == 1, "read: one answer for each lookup"
    return found[0]


def judge_one(entries: Entries, lookup: Lookup) -> Steps[Hit | Miss]:
    return judge((yield from read_one(entries, lookup)), now_ms())


def payload_of(entries: Entries, lookup: Lookup) -> Steps[bytes | None]:
    """What would be served."""
    judged = yield from judge_one(entries, lookup)
    return bytes(judged.payload) if isinstance(judged, Hit) else None


def ask_for_lease(
    entries: Entries, lookup: Lookup, *, ttl: float = LONG, refresh: bool = False
) -> Steps[Lease | Found | None]:
    found = yield from read_one(entries, lookup)
    return (yield from entries.acquire(lookup, found, ttl=ttl, refresh=refresh))


def take_lease(
    entries: Entries,
    lookup: Lookup,
    rule: str = "acquire: who asks first gets the lease",
    *,
    ttl: float = LONG,
    refresh: bool = False,
) -> Steps[Lease]:
    """A lease of our own."""
    lease = yield from ask_for_lease(entries, lookup, ttl=ttl, refresh=refresh)
    assert isinstance(lease, Lease), rule
    assert lease.mine, rule
    return lease


def have_entry(
    entries: Entries, lookup: Lookup, payload: bytes = b"payload", *, ttl: float = LONG
) -> Steps[None]:
    """Have an entry under a key."""
    lease = yield from take_lease(entries, lookup)
    stored = yield from entries.fill(lease, entry_under(lease, payload), ttl=ttl)
    assert stored is True, "fill: what is stored under a lease that is in place is told with True"
    served = yield from payload_of(entries, lookup)
    assert served == payload, "fill: what was stored must be read as it is"


def keep_lease(entries: Entries, lease: Lease, rule: str) -> Steps[Lease]:
    renewed = yield from entries.renew(lease, ttl=LONG)
    assert renewed is not None, rule
    return renewed


def check_voided(entries: Entries, lease: Lease, rule: str) -> Steps[None]:
    """Nothing can be done with a lease any more."""
    assert (yield from entries.renew(lease, ttl=LONG)) is None, f"renew: {rule}"
    stored = yield from entries.fill(lease, entry_under(lease, b"too late"), ttl=LONG)
    assert stored is False, f"fill: {rule}"
