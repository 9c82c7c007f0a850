"""A tenant's part of a storage is its own."""

from scalekit.errors import InvalidKey
from scalekit.storage import Storage
from scalekit.testing._storages.sources import raises


async def check_scopes(storage: Storage, prefix: str) -> None:
    mine, theirs = storage.scoped(prefix + "a/"), storage.scoped(prefix + "b/")
    inner = mine.scoped("inner/")
    for scope, key, content in (
        (mine, "k.txt", b"mine"),
        (theirs, "k.txt", b"theirs"),
        (inner, "k.txt", b"in"),
    ):
        await scope.put(key, content)
    put = await mine.put("k2.txt", b"mine too", filename="n.txt")
    seen, opened = await mine.stat("k2.txt"), await mine.open("k2.txt")
    assert seen is not None, "a scoped stat() does not see what put() stored"
    assert opened is not None, "a scoped open() does not see what put() stored"
    await opened.aclose()
    keys = {put.key, seen.key, opened.stored.key}
    assert keys == {"k2.txt"}, f"below a prefix k2.txt is called {keys}"
    await mine.copy("k.txt", "k3.txt")
    await mine.compose("k4.txt", ["k.txt", "k2.txt"])
    listed = [stored.key async for stored in mine.list()]
    assert listed == ["inner/k.txt", "k.txt", "k2.txt", "k3.txt", "k4.txt"], f"a scoped list() gave {listed}"
    assert [stored.key async for stored in mine.list("k")] == listed[1:], "a scoped list(prefix) is another"
    assert await mine.read("k4.txt") == b"minemine too", "a scoped compose() made something else"
    assert await storage.read(prefix + "a/inner/k.txt") == b"in", "a scope in a scope is elsewhere"
    for key in ("../b/k.txt", "/k.txt", "a/../../b/k.txt", "..", ""):
        for call in (
            mine.stat(key),
            mine.open(key),
            mine.put(key, b"x", overwrite=True),
            mine.delete(key),
            mine.url(key),
            mine.signed_url(key),
            mine.copy(key, "taken.txt"),
            mine.copy("k.txt", key),
            mine.compose(key, ["k.txt"]),
            mine.compose("taken.txt", [key]),
        ):
            await raises(InvalidKey, call, f"below a prefix the key {key!r} was taken")
    for start in ("../b/", "/", "..", "inner/../../b/"):
        await raises(InvalidKey, anext(mine.list(start), None), f"a scoped list() took {start!r}")
    await mine.delete("k.txt")
    assert await mine.stat("k.txt") is None, "a scoped delete() did not delete"
    assert await theirs.read("k.txt") == b"theirs", "what is below another prefix changed"
