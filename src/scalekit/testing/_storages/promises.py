"""What a storage promises of an object besides its bytes: checksum, file name, and what is made of others."""

from scalekit.errors import ChecksumMismatch, InvalidKey, ObjectExists, ObjectMissing
from scalekit.storage import Checksum, MiB, Storage
from scalekit.storage.checksums import ALGORITHMS
from scalekit.testing._storages.sources import pieces, raises, source


async def check_promises(storage: Storage, prefix: str) -> None:
    await _check_checksums(storage, prefix)
    await _check_filenames(storage, prefix)
    await _check_compose(storage, prefix)
    await _check_copy(storage, prefix)


async def _check_checksums(storage: Storage, prefix: str) -> None:
    for size in (10, 9 * MiB):  # in one piece and in several
        key, content = f"{prefix}sum-{size}.bin", (b"0123456789abcdef" * (size // 16 + 1))[:size]
        for algorithm in ALGORITHMS if size == 10 else ("sha256",):
            wrong = Checksum.of(b"something else", algorithm)
            written = storage.put(key, source(*pieces(content, MiB)), checksum=wrong)
            await raises(ChecksumMismatch, written, f"put() took a content with another {algorithm} checksum")
            assert await storage.stat(key) is None, "a content with another checksum was stored"
            right = Checksum.of(content, algorithm)
            await storage.put(key, source(*pieces(content, MiB)), checksum=right, size=size)
            assert await storage.read(key) == content, "what is read is not what was stored"
            seen = await storage.stat(key)
            assert seen is not None, "stat() does not see what put() stored"
            if seen.checksum is not None:
                own = Checksum.of(content, seen.checksum.algorithm)
                assert seen.checksum == own, (
                    f"the checksum of the whole content is {own}, not {seen.checksum}"
                )
            written = storage.put(key, b"another", checksum=wrong, overwrite=True)
            await raises(ChecksumMismatch, written, "an overwrite with another checksum was taken")
            assert await storage.read(key) == content, "a refused overwrite changed the object"
            await storage.delete(key)


async def _check_filenames(storage: Storage, prefix: str) -> None:
    key = prefix + "name.txt"
    for given, kept in (("größe 1.txt", "größe 1.txt"), ("../a\u202eb\n.txt", "ab.txt"), ("\x00", None)):
        put = await storage.put(key, b"x", filename=given, overwrite=True)
        seen, opened = await storage.stat(key), await storage.open(key)
        assert seen is not None, "stat() does not see what put() stored"
        assert opened is not None, "open() does not see what put() stored"
        await opened.aclose()
        names = {put.filename, seen.filename, opened.stored.filename}
        assert names in ({kept}, {None}), f"filename={given!r} is told as {names}, not as {kept!r}"
    await storage.put(key, b"x", overwrite=True)
    seen = await storage.stat(key)
    assert seen is not None, "an overwritten object is gone"
    assert seen.filename is None, "a file name outlived its object"
    await storage.delete(key)


async def _check_compose(storage: Storage, prefix: str) -> None:
    key = prefix + "whole.bin"
    contents = {"one": b"first", "two": bytes(6 * MiB), "three": b"", "four": b"last" * MiB}
    names = {name: f"{prefix}part-{name}.bin" for name in contents}
    for name, content in contents.items():
        await storage.put(names[name], source(*pieces(content, MiB)))
    for order in (["one"], ["two", "four", "one"], ["one", "two", "three", "four", "one"], ["three"]):
        made = await storage.compose(
            key, [names[name] for name in order], content_type="image/png", filename="a.png"
        )
        expected = b"".join(contents[name] for name in order)
        assert await storage.read(key) == expected, f"composed of {order}, the object is something else"
        seen = await storage.stat(key)
        assert seen is not None, "stat() does not see what compose() stored"
        assert (seen.size, seen.etag, seen.key) == (len(expected), made.etag, key), f"compose(): {made}"
        assert (made.size, made.key) == (len(expected), key), f"compose(): {made}"
        again = storage.compose(key, [names["one"]])
        await raises(ObjectExists, again, "a create-only compose() replaced an object")
        await storage.compose(key, [names["one"]], overwrite=True)
        assert await storage.read(key) == b"first", "compose(overwrite=True) did not replace the object"
        await storage.delete(key)
    lacking = storage.compose(key, [names["one"], prefix + "absent.bin"])
    await raises(ObjectMissing, lacking, "compose() went on without one of its sources")
    assert await storage.stat(key) is None, "compose() stored something without one of its sources"
    for target, sources in ((names["one"], [names["one"]]), ("../a", [names["one"]]), (key, ["a//b"])):
        made_of = storage.compose(target, sources, overwrite=True)
        await raises(InvalidKey, made_of, f"compose({target!r}, {sources}) was taken")
    for name, content in contents.items():
        assert await storage.read(names[name]) == content, "compose() changed one of its sources"
        await storage.delete(names[name])


async def _check_copy(storage: Storage, prefix: str) -> None:
    first, second = prefix + "first", prefix + "second"
    await storage.put(first, b"content", content_type="image/png", filename="a b.png")
    await storage.copy(first, second)
    one, two = await storage.stat(first), await storage.stat(second)
    assert one is not None, "copy() took its source away"
    assert two is not None, "stat() does not see what copy() stored"
    assert (two.content_type, two.filename) == (one.content_type, one.filename), f"copy() of {one} is {two}"
    assert await storage.read(second) == b"content", "a copy is something else"
    await raises(ObjectExists, storage.copy(first, second), "a create-only copy() replaced an object")
    await storage.put(first, b"changed", overwrite=True)
    assert await storage.read(second) == b"content", "a copy changed with its source"
    await storage.copy(first, second, overwrite=True)
    assert await storage.read(second) == b"changed", "copy(overwrite=True) did not replace the object"
    await raises(ObjectMissing, storage.copy(prefix + "absent", prefix + "x"), "copy() of nothing was taken")
    assert await storage.stat(prefix + "x") is None, "copy() of nothing stored something"
    await storage.delete(first)
    await storage.delete(second)
