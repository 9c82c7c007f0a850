"""17. Values that nobody can read in the store, and that only a key of the ring opens."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, DecryptionFailed, SessionValueError
from scalekit.sessions import Events, Loaded, MemoryStore, Store, UserSessions, codec
from scalekit.sessions._sealed import refuse_sealed
from scalekit.sessions._sealing import Ring
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.encryption import BoundEncryptedStore, EncryptedStore
from scalekit.sessions.tokens import store_id
from scalekit.testing import check_store, check_store_async
from tests.sessions.shells import Shell, Visitor, WSGIShell

OLD, NEW = "an old key of the tests, long", "a new key of the tests, long"
LONG = 60_000
ID, OTHER = store_id("one"), store_id("other")

# Made by hand: HKDF and the context written out, and AES-SIV.
PINNED = "c153590ea0478580ef453f73823460c16ee3fefaaaf3b93f670fdf"


def encrypted(store: Store, keys: Any = OLD, **options: Any) -> BoundEncryptedStore:
    return EncryptedStore(store, keys=keys, **options).using("sync")


def create(store: Any, id: str = ID, *, user: bytes | None = None, **fields: bytes) -> None:
    values = {name.encode(): data for name, data in fields.items()}
    assert store.create(id, fields=values, user=user, idle=LONG, lifetime=LONG, device=user and b"phone")


def load(store: Any, id: str = ID) -> Any:
    return store.load(id, idle=LONG, step=2 * LONG)


def save(store: Any, id: str = ID, **fields: bytes) -> None:
    values = {name.encode(): data for name, data in fields.items()}
    assert store.save(id, changed=values, removed=(), idle=LONG)


def everything(url: str, prefix: str) -> bytes:
    """What Redis has below ``prefix``."""
    import redis

    found = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=prefix + "*"):
            match client.type(key):
                case b"hash":
                    found += [key, *[part for pair in client.hgetall(key).items() for part in pair]]
                case b"zset":
                    found += [key, *client.zrange(key, 0, -1)]
                case b"set":
                    found += [key, *client.smembers(key)]
                case kind:
                    pytest.fail(f"a {kind!r}, which this test cannot read")
    return b"\n".join(found)


@pytest.mark.parametrize("keys", [OLD, [OLD, NEW]], ids=["one key", "two keys"])
def test_encrypted_stores_keep_the_contract(store: Store, keys: Any) -> None:
    """17. Whatever it wraps: merging, swaps, lists and times are as they are without it."""
    wrapped = EncryptedStore(store, keys=keys)
    check_store(wrapped)
    asyncio.run(check_store_async(wrapped))


def test_a_dump_of_the_store_can_be_read_by_nobody(
    redis_url: str, prefix: str, shell_type: type[Shell]
) -> None:
    """17. Neither values, nor who it is, nor from which device, in no form that they are stored in."""
    from scalekit.sessions.redis import RedisStore

    store = EncryptedStore(RedisStore.from_url(redis_url, prefix=prefix), keys=OLD)
    visitor = shell_type(store).visitor()
    visitor(lambda session: session.update(address="Baker Street", secret=b"in bytes"))
    visitor(lambda session: session.login("sherlock", device="a pipe"))
    assert visitor(lambda session: [session["address"], session.user_id]) == ["Baker Street", "sherlock"]
    dump = everything(redis_url, prefix)
    assert b"address" in dump  # the names of keys are, for changes to merge
    for word in (b"Baker Street", b"in bytes", b"sherlock", b"a pipe"):  # none so short that chance makes it
        assert word not in dump


def test_equal_values_are_unlike_elsewhere() -> None:
    """17. Only of the same key of the same session can be told that the value is the same."""
    inner = MemoryStore()
    store = encrypted(inner)
    create(store, a=b"same", b=b"same")
    create(store, OTHER, a=b"same")
    first = load(inner).fields
    assert len({first[b"a"], first[b"b"], load(inner, OTHER).fields[b"a"]}) == 3
    save(store, a=b"same", b=b"another")
    again = load(inner).fields
    assert again[b"a"] == first[b"a"]
    assert again[b"b"] != first[b"b"]


def test_old_keys_read_and_the_last_one_writes() -> None:
    """17. A ring is oldest first, as everywhere here."""
    inner = MemoryStore()
    create(encrypted(inner, OLD), user=b"ann", kept=b"1", changed=b"2")
    ring = encrypted(inner, [OLD, NEW])
    assert load(ring).fields == {b"kept": b"1", b"changed": b"2"}
    save(ring, changed=b"3")
    assert load(ring).fields == {b"kept": b"1", b"changed": b"3"}
    create(ring, OTHER, user=b"ann", a=b"1")
    new = load(encrypted(inner, NEW), OTHER)
    assert (new.fields, new.user, new.device) == ({b"a": b"1"}, b"ann", b"phone")
    with pytest.raises(DecryptionFailed):
        load(encrypted(inner, NEW))


def test_users_are_found_under_every_key(store: Store) -> None:
    """17, 29. A list has the sessions of the time before the key was changed, and they can be ended."""
    create(encrypted(store, OLD), user=b"ann")
    ring = encrypted(store, [OLD, NEW])
    create(ring, OTHER, user=b"ann")
    assert sorted(ring.listed(b"ann")) == sorted([ID, OTHER])
    assert ring.listed(b"bob") == []
    ended: Any = ring.destroy(ID, grace=0, user=b"ann")
    assert ended.user == b"ann"
    assert ring.listed(b"ann") == [OTHER]
    ring.destroy(OTHER, grace=0, user=b"ann")
    assert ring.listed(b"ann") == []


def test_a_dead_session_is_listed_no_longer_under_any_key(store: Store) -> None:
    """17, 29. Of a dead one the store cannot say under which key it was listed."""
    assert encrypted(store, OLD).create(ID, fields={}, user=b"ann", idle=1, lifetime=LONG)
    ring = encrypted(store, [OLD, NEW])
    until = time.monotonic() + 20
    while load(ring) is not None:
        assert time.monotonic() < until
    assert ring.destroy(ID, grace=0, user=b"ann") is None
    assert ring.listed(b"ann") == []


def test_a_user_s_sessions_are_listed_and_revoked(store: Store, shell_type: type[Shell]) -> None:
    """17, 29. With their devices, from before and after the key was changed."""
    visitors = []
    for keys, device in ((OLD, "phone"), ([OLD, NEW], "laptop")):
        visitor = shell_type(EncryptedStore(store, keys=keys)).visitor()
        visitor(lambda session, device=device: session.login("ann", device=device))
        visitors.append(visitor)
    encrypted_store = EncryptedStore(store, keys=[OLD, NEW])
    for visitor in visitors:
        visitor.shell = shell_type(encrypted_store)
    users = UserSessions(encrypted_store)
    assert {info.device for info in users.list("ann")} == {"phone", "laptop"}
    (phone,) = [info for info in users.list("ann") if info.device == "phone"]
    assert users.revoke("ann", phone.id) is True
    assert [visitor(lambda session: session.user_id) for visitor in visitors] == [None, "ann"]
    assert users.revoke_all("ann") == 1
    assert users.list("ann") == []
    assert visitors[1](lambda session: session.user_id) is None


@pytest.mark.parametrize("servers", ["redis_cluster", "redis_sentinel"])
def test_clusters_and_sentinels(servers: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """17, 30. Encryption asks nothing of where the sessions are."""
    from scalekit.sessions.redis import RedisStore

    store = RedisStore.from_url(request.getfixturevalue(servers).url, prefix=prefix)
    check_store(EncryptedStore(store, keys=[OLD, NEW]))


@pytest.mark.parametrize("found", [b"1", b"2"], ids=["as expected", "not as expected"])
def test_a_swap_knows_what_an_older_key_wrote(found: bytes) -> None:
    """17, 9. Counters and one-shot values go on when the key is changed."""
    inner = MemoryStore()
    create(encrypted(inner, OLD), a=found)
    ring = encrypted(inner, [OLD, NEW])
    swapped = ring.swap(ID, b"a", expected=b"1", value=b"3", idle=LONG)
    assert swapped == ((True, None) if found == b"1" else (False, found))
    assert load(ring).fields == {b"a": b"3" if found == b"1" else found}
    assert ring.swap(ID, b"a", expected=None, value=b"4", idle=LONG) == (False, load(ring).fields[b"a"])
    assert ring.swap(ID, b"b", expected=b"1", value=b"4", idle=LONG) == (False, None)


def test_a_wrong_key_is_an_outage_and_changes_nothing(
    make_shell: Callable[..., Shell], caplog: pytest.LogCaptureFixture
) -> None:
    """17. Not an empty session: that would replace the cookie, and the session would be lost."""
    inner = MemoryStore()
    visitor = make_shell(EncryptedStore(inner, keys=OLD)).visitor()
    visitor(lambda session: session.update(cart=["tea"]))
    visitor(lambda session: session.login("ann"))
    right, cookie = visitor.shell, visitor.cookie
    visitor.shell = make_shell(EncryptedStore(inner, keys=NEW))
    caplog.clear()
    for handler in (dict, lambda session: session.update(a=1), lambda session: session.login("bob")):
        reply = visitor.visit(handler)
        assert (reply.status, reply.set_cookies) == (503, [])
    assert visitor.visit(lambda session: "fine").json == "fine"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "which is not among keys=" in record.getMessage()
    assert "tea" not in caplog.text
    visitor.shell = right
    assert visitor(lambda session: [session["cart"], session.user_id]) == [["tea"], "ann"]
    assert visitor.cookie == cookie


def test_a_wrong_key_follows_the_policy_of_outages(make_shell: Callable[..., Shell]) -> None:
    """17, 27. on_error="anonymous" shows nobody, and still loses nothing."""
    inner = MemoryStore()
    visitor = make_shell(EncryptedStore(inner, keys=OLD)).visitor()
    visitor(lambda session: session.update(a=1))
    right = visitor.shell
    visitor.shell = make_shell(EncryptedStore(inner, keys=NEW), on_error="anonymous")
    assert visitor(dict) == {}
    assert visitor.visit(lambda session: session.update(a=2)).status == 503
    visitor.shell = right
    assert visitor(dict) == {"a": 1}


def test_a_server_without_encryption_loses_nothing(
    make_shell: Callable[..., Shell], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17. A server whose store was not wrapped says so: an outage as with a wrong key, and no 500."""
    monkeypatch.setattr("scalekit.sessions._sealed._log", SparingLog())
    inner = MemoryStore()
    visitor = make_shell(EncryptedStore(inner, keys=OLD)).visitor()
    visitor(lambda session: session.update(cart=["tea"]))
    visitor(lambda session: session.login("ann"))
    right, cookie = visitor.shell, visitor.cookie
    caplog.clear()
    visitor.shell = make_shell(inner)
    for handler in (dict, lambda session: session.user_id, lambda session: session.update(a=1)):
        reply = visitor.visit(handler)
        assert (reply.status, reply.set_cookies) == (503, [])
    assert visitor.visit(lambda session: session.login("bob")).status == 503
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "is encrypted; wrap the store in EncryptedStore(store, keys=...)" in record.getMessage()
    visitor.shell = make_shell(inner, on_error="anonymous")
    assert visitor(dict) == {}
    assert visitor.visit(lambda session: session.update(a=2)).status == 503
    visitor.shell = right
    assert visitor(lambda session: [dict(session), session.user_id]) == [{"cart": ["tea"]}, "ann"]
    assert visitor.cookie == cookie


def test_a_server_without_encryption_follows_no_rotation(make_shell: Callable[..., Shell]) -> None:
    """17. Nor does it take the old id of a session that was just rotated for a new visitor's."""
    inner = MemoryStore()
    visitor = make_shell(EncryptedStore(inner, keys=OLD)).visitor()
    visitor(lambda session: session.update(a=1))
    slow = Visitor(make_shell(inner), visitor.cookie)
    visitor(lambda session: session.rotate())
    reply = slow.visit(lambda session: session.update(b=1))
    assert (reply.status, reply.set_cookies) == (503, [])


@pytest.mark.parametrize("sealed", ["user", "value", "later value"])
def test_one_sealed_value_is_enough(sealed: str) -> None:
    """17. Among plain values too, which would otherwise be carried to another id, where it never opens."""
    ring, id = Ring(OLD, purpose="tests", option="keys"), store_id("one")
    value = ring.seal(b"1", b"")
    loaded = {
        "user": Loaded({b"a": b"\x01"}, user=value),
        "value": Loaded({b"a": value}),
        "later value": Loaded({b"a": b"", b"b": b"\x01", b"c": value}),
    }[sealed]
    with pytest.raises(DecryptionFailed, match=rf"session {id[:8]}\.\.\. is encrypted") as caught:
        refuse_sealed(id, loaded)
    assert caught.value.why == "key"


def test_what_is_not_sealed_is_not_refused() -> None:
    """17. Neither plain values, nor the empty ones of another tool, nor the mark of what has ended."""
    for loaded in (
        Loaded({b"a": b"\x01", b"b": b"\xa1\xc1"}, user=b"\xa3ann"),
        Loaded({b"a": b"", b"b": b"\x01"}),
        Loaded(ended=True, successor=OTHER, alias=True),
        Loaded(ended=True),
    ):
        refuse_sealed(ID, loaded)


def test_a_value_that_another_server_has_just_sealed() -> None:
    """17. What arrives sealed while a request is under way is told as what it is."""
    value = Ring(OLD, purpose="tests", option="keys").seal(b"1", b"")
    with pytest.raises(SessionValueError, match="'a' cannot be read: it is encrypted; wrap the store"):
        codec.decode("a", value)


def test_in_django() -> None:
    """17. The engine encrypts with whatever store it is given; a wrong key is an error, and loses nothing."""
    from django.test import override_settings

    import tests.sessions.django_project  # noqa: F401  its settings
    from scalekit.sessions.django import SessionStore

    inner = MemoryStore()
    with override_settings(SCALEKIT_SESSION_STORE=EncryptedStore(inner, keys=OLD)):
        session = SessionStore()
        session["cart"] = ["tea"]
        session.save()
    key = session.session_key
    for store in (EncryptedStore(inner, keys=NEW), inner):
        with override_settings(SCALEKIT_SESSION_STORE=store):
            session = SessionStore(key)
            with pytest.raises(DecryptionFailed):
                session.get("cart")
            assert isinstance(session._fault, DecryptionFailed)
    with override_settings(SCALEKIT_SESSION_STORE=EncryptedStore(inner, keys=[OLD, NEW])):
        assert SessionStore(key)["cart"] == ["tea"]


def test_each_session_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """17. However often it is asked for; another one is logged too."""
    inner = MemoryStore()
    for id in (ID, OTHER):
        create(encrypted(inner, OLD), id, a=b"1")
    store = encrypted(inner, NEW)
    for id in (ID, ID, OTHER, ID):
        with pytest.raises(DecryptionFailed) as caught:
            load(store, id)
        assert caught.value.why == "key"
    assert [
        record.getMessage().count(id[:8]) for record, id in zip(caplog.records, (ID, OTHER), strict=True)
    ] == [
        1,
        1,
    ]


def tampered(change: Callable[[dict[bytes, Any]], None]) -> pytest.ExceptionInfo[DecryptionFailed]:
    """What loading ID raises, of two sessions that ``change`` gets as the store has them."""
    inner = MemoryStore()
    store = encrypted(inner)
    create(store, user=b"mallory", a=b"1", b=b"2")
    create(store, OTHER, user=b"ann", a=b"1")
    mine, hers = load(inner), load(inner, OTHER)
    parts = {b"a": mine.fields[b"a"], b"b": mine.fields[b"b"], b"user": mine.user, b"device": mine.device}
    change(
        parts | {b"her a": hers.fields[b"a"], b"ann": hers.user, b"her device": hers.device, b"parts": parts}
    )
    inner.destroy(ID, grace=0)
    fields = {name: parts[name] for name in (b"a", b"b")}
    inner.create(ID, fields=fields, user=parts[b"user"], idle=LONG, lifetime=LONG, device=parts[b"device"])
    with pytest.raises(DecryptionFailed) as caught:
        load(store)
    again = load(inner)
    assert (again.fields, again.user, again.device) == (fields, parts[b"user"], parts[b"device"])
    return caught


TAMPERINGS: dict[str, Callable[[dict[bytes, Any]], None]] = {
    "a bit": lambda all: all[b"parts"].update({b"a": all[b"a"][:-1] + bytes([all[b"a"][-1] ^ 1])}),
    "cut": lambda all: all[b"parts"].update({b"a": all[b"a"][:10]}),
    "another key of the session": lambda all: all[b"parts"].update({b"a": all[b"b"]}),
    "another session": lambda all: all[b"parts"].update({b"a": all[b"her a"]}),
    "another user": lambda all: all[b"parts"].update({b"user": all[b"ann"]}),
    "another user and device": lambda all: all[b"parts"].update(
        {b"user": all[b"ann"], b"device": all[b"her device"]}
    ),
    "another user, no device": lambda all: all[b"parts"].update({b"user": all[b"ann"], b"device": None}),
    "nobody": lambda all: all[b"parts"].update({b"user": None}),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_what_was_changed_in_the_store_is_refused(how: str) -> None:
    """17. Nothing can be made up, nor moved from one key, session or user to another; nothing is deleted."""
    caught = tampered(TAMPERINGS[how])
    assert caught.value.why == "changed"


def test_what_was_stored_before_is_read_on_request() -> None:
    """17. Encryption can be switched on without logging anybody out; unless asked, plain data is refused."""
    inner = MemoryStore()
    create(inner, user=b"ann", a=b"\x01", b=b"\x02")
    with pytest.raises(DecryptionFailed, match="plain='read'") as caught:
        load(encrypted(inner))
    assert caught.value.why == "plain"
    store = encrypted(inner, plain="read")
    loaded = load(store)
    assert (loaded.fields, loaded.user, loaded.device) == ({b"a": b"\x01", b"b": b"\x02"}, b"ann", b"phone")
    assert store.listed(b"ann") == [ID]
    save(store, a=b"\x03")
    assert store.swap(ID, b"b", expected=b"\x02", value=b"\x04", idle=LONG) == (True, None)
    stored = load(inner).fields
    assert not stored.keys() & {name for name, data in stored.items() if data in (b"\x03", b"\x04")}
    assert load(store).fields == {b"a": b"\x03", b"b": b"\x04"}
    ended: Any = store.destroy(ID, grace=0, user=b"ann")
    assert ended.user == b"ann"
    assert store.listed(b"ann") == []


def test_a_session_from_before_goes_on(make_shell: Callable[..., Shell]) -> None:
    """17. With plain="read", through a log-in as well, after which nothing of it is plain."""
    inner = MemoryStore()
    visitor = make_shell(inner).visitor()
    visitor(lambda session: session.update(cart=["tea"]))
    old = visitor.shell
    visitor.shell = make_shell(EncryptedStore(inner, keys=OLD, plain="read"))
    assert visitor(dict) == {"cart": ["tea"]}
    visitor(lambda session: session.login("ann"))
    visitor.shell = make_shell(EncryptedStore(inner, keys=OLD))
    assert visitor(lambda session: [session["cart"], session.user_id]) == [["tea"], "ann"]
    assert old.visitor()(dict) == {}


def test_servers_without_encryption_and_with_it_work_together() -> None:
    """17. plain="write" is the step in between: it reads what others have encrypted."""
    inner = MemoryStore()
    between, after = encrypted(inner, plain="write"), encrypted(inner, plain="read")
    create(between, user=b"ann", a=b"1", b=b"1")
    create(after, OTHER, user=b"ann", a=b"1")
    plain = load(inner)
    assert (plain.fields, plain.user, plain.device) == ({b"a": b"1", b"b": b"1"}, b"ann", b"phone")
    save(after, a=b"2")
    assert between.swap(ID, b"a", expected=b"2", value=b"3", idle=LONG) == (True, None)
    assert after.swap(ID, b"b", expected=b"1", value=b"3", idle=LONG) == (True, None)
    for store in (between, after):
        assert load(store).fields == {b"a": b"3", b"b": b"3"}
        assert (load(store, OTHER).user, load(store, OTHER).device) == (b"ann", b"phone")
        assert sorted(store.listed(b"ann")) == sorted([ID, OTHER])
    assert between.destroy(OTHER, grace=0, user=b"ann")
    assert between.listed(b"ann") == after.listed(b"ann") == [ID]


def test_no_key_is_needed_to_end_a_session() -> None:
    """17. A log-out does not fail where the key is missing; what cannot be read is then not given."""
    inner = MemoryStore()
    create(encrypted(inner, OLD), user=b"ann", a=b"1")
    store = encrypted(inner, NEW)
    ended = store.destroy(ID, grace=LONG)
    assert isinstance(ended, Loaded)
    assert (ended.fields, ended.user, ended.device) == ({}, None, None)
    assert load(store).ended


def test_a_session_does_not_go_on_without_what_it_cannot_read() -> None:
    """17. What another server saved with a key that is not here is not taken for removed."""
    inner = MemoryStore()
    create(encrypted(inner, OLD), a=b"1")
    save(encrypted(inner, [OLD, NEW]), a=b"2")
    with pytest.raises(DecryptionFailed):
        encrypted(inner, OLD).destroy(ID, grace=LONG, successor=OTHER)


def test_the_stored_format_stays() -> None:
    """17. What an earlier version stored is read: the mark, the key's id, and AES-SIV with this context."""
    inner = MemoryStore()
    stored = bytes.fromhex(PINNED)
    inner.create("ab" * 32, fields={b"cart": stored}, user=None, idle=LONG, lifetime=LONG)
    store = encrypted(inner, "the key of the pinned value")
    assert load(store, "ab" * 32).fields == {b"cart": b"\x91\xa3tea"}
    save(store, "ab" * 32, cart=b"\x91\xa3tea")
    assert load(inner, "ab" * 32).fields == {b"cart": stored}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store": MemoryStore(), "keys": []}, "keys is an empty list"),
        ({"store": MemoryStore(), "keys": "short"}, "^keys has 5 bytes"),
        ({"store": MemoryStore(), "keys": None}, "keys is None"),
        ({"store": "redis://localhost", "keys": OLD}, "must be a store"),
        ({"store": MemoryStore(), "keys": OLD, "plain": True}, "use 'refuse', 'read' or 'write'"),
    ],
)
def test_mistakes_are_told_at_start_up(arguments: dict[str, Any], message: str) -> None:
    """17. In the words of the caller, without the key."""
    with pytest.raises(ConfigurationError, match=message):
        EncryptedStore(arguments.pop("store"), **arguments)


def test_the_log_does_not_grow_without_end(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """17. The ids that were logged are forgotten when they are many; then one may be logged again."""
    monkeypatch.setattr("scalekit.sessions.encryption._TOLD_AT_MOST", 1)
    inner = MemoryStore()
    for id in (ID, OTHER):
        create(encrypted(inner, OLD), id, a=b"1")
    store = encrypted(inner, NEW)
    for id in (ID, ID, OTHER, ID):
        with pytest.raises(DecryptionFailed):
            load(store, id)
    assert len(caplog.records) == 3


def test_a_thief_of_the_store_is_not_a_visitor(make_shell: Callable[..., Shell]) -> None:
    """16. The id of a session is worth nothing as a cookie, encrypted or not."""
    inner = MemoryStore()
    visitor = make_shell(EncryptedStore(inner, keys=OLD)).visitor()
    visitor(lambda session: session.update(a=1))
    assert visitor.cookie is not None
    id = store_id(visitor.cookie.partition(".")[0])
    assert load(inner, id) is not None
    assert Visitor(visitor.shell, id)(dict) == {}


def test_all_sessions_are_revoked_though_one_cannot_be_read() -> None:
    """12, 17, 29. A value under a missing key, or one that was tampered with, keeps nobody logged in."""
    memory, new, old = MemoryStore(), "the new key, long enough", "the old key, long enough"
    shell = WSGIShell(EncryptedStore(memory, keys=old))
    visitors = [shell.visitor() for _ in range(3)]
    for visitor in visitors:
        visitor(lambda session: [session.login("ann"), session.update(a=1)][1])
    ahead = Visitor(WSGIShell(EncryptedStore(memory, keys=[old, new])), visitors[1].cookie)
    ahead(lambda session: session.update(b=2))
    users = UserSessions(EncryptedStore(memory, keys=old))
    assert len(users.list("ann")) == 2
    assert users.revoke_all("ann") == 3
    assert [entry.session.ended for entry in memory._entries.values()] == [True] * 3


def test_what_a_mark_says_needs_its_key() -> None:
    """10, 17. A server that cannot read what a session has gone on as does not take it for over."""
    memory, new, old = MemoryStore(), "the new key, long enough", "the old key, long enough"
    visitor = WSGIShell(EncryptedStore(memory, keys=[old, new])).visitor()
    visitor(lambda session: [session.login("ann"), session.update(a=1)][1])
    late = Visitor(WSGIShell(EncryptedStore(memory, keys=old)), visitor.cookie)
    visitor(lambda session: session.rotate())
    assert late.visit(lambda session: session.logout()).status == 503
    assert visitor(lambda session: session.user_id) == "ann"


def test_what_cannot_be_read_is_revoked_by_its_user_alone() -> None:
    """17, 29. The id of somebody else's session, which may be known, ends nothing, though whose it is cannot
    be decrypted; one's own ends, and is told with its user."""
    memory, new, old = MemoryStore(), "the new key, long enough", "the old key, long enough"
    ahead = WSGIShell(EncryptedStore(memory, keys=[old, new]))
    visitor = WSGIShell(EncryptedStore(memory, keys=old)).visitor()
    visitor(lambda session: session.login("ann"))
    Visitor(ahead, visitor.cookie)(lambda session: session.update(a=1))
    (id,), told = memory._entries, list[Any]()
    events = Events(revoked=lambda event: told.append((event.id, event.user_id)))
    users = UserSessions(EncryptedStore(memory, keys=old), events=events)
    assert users.revoke("ben", id) is False
    assert Visitor(ahead, visitor.cookie)(lambda session: session.user_id) == "ann"
    assert users.revoke("ann", id) is True
    assert Visitor(ahead, visitor.cookie)(lambda session: session.user_id) is None
    assert users.revoke("ann", id) is False
    assert told == [(id, "ann")]
