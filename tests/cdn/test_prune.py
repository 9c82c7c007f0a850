"""Pruning: which releases stay, and that nothing goes that anybody may still ask for."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiobotocore")

from scalekit.cdn import Assets
from scalekit.cdn._releases import Release, kept
from scalekit.cdn.prune import prune
from scalekit.cdn.push import push
from scalekit.errors import BackendTimeout, ConfigurationError, PushRefused
from tests.cdn.bucket import AssetsS3, read_stand_in
from tests.cdn.conftest import write_tree

DAY = 86400.0
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("scalekit.cdn.push._POLL_SECONDS", 0.01)


@pytest.fixture
async def s3() -> AsyncGenerator[AssetsS3, None]:
    async with AssetsS3() as server:
        yield server


@pytest.fixture
def release(tmp_path: Path) -> Callable[[str], Assets]:
    """The assets of a release: a file that all have, and two of its own."""

    def make(name: str) -> Assets:
        own = f"of {name}".encode()
        files = {
            "all.png": b"all",
            "own.png": own,
            "site.css": b"i { background: url(own.png) } /* " + own + b" */",
        }
        return Assets(write_tree(tmp_path / name, files))

    return make


def files(s3: AssetsS3, prefix: str = "static/") -> set[str]:
    return {key for key in s3.objects if key.startswith(prefix) and "/.scalekit/" not in key}


def of(assets: Assets, prefix: str = "static/") -> set[str]:
    return {f"{prefix}{asset.hashed_name}" for asset in assets}


def test_which_releases_are_kept() -> None:
    """The current one, the last N with different contents, and what was followed by another of late."""

    def stay(*pushed: tuple[str, int], current: str, keep: int = 1, age: int = 0, now: int = 1000) -> str:
        known = [
            Release(name=f".scalekit/releases/{number}-{digest}.json", written=START + timedelta(days=day))
            for number, (digest, day) in enumerate(pushed)
        ]
        names = kept(
            known,
            current=next((item.name for item in reversed(known) if item.digest == current), None),
            keep=keep, age=timedelta(days=age), now=START + timedelta(days=now),
        )  # fmt: skip
        return "".join(item.digest if item.name in names else "." for item in known)

    assert stay(("a", 1), ("b", 2), ("c", 3), current="c") == "..c"
    assert stay(("a", 1), ("b", 2), ("c", 3), current="c", keep=2) == ".bc"
    assert stay(("a", 1), ("b", 2), ("c", 3), current="a") == "a.c", "the last one may be a push under way"
    assert stay(("a", 1), ("b", 2), ("a", 3), current="a") == "..a"
    assert stay(("a", 1), ("b", 2), ("a", 3), ("b", 4), current="b", keep=2) == "..ab"
    # Two hundred days old, but followed a day ago only: servers may still have its pages.
    assert stay(("a", 1), ("b", 200), current="b", age=7, now=201) == "ab"
    assert stay(("a", 1), ("b", 200), current="b", age=7, now=208) == ".b"
    assert stay(("a", 1), ("b", 2), current="x", keep=5) == "ab"


async def test_old_releases_go(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """Their own files go, and then their manifests; what the kept ones name stays, and so does the rest."""
    pushed = [release(name) for name in "abcde"]
    for assets in pushed:
        await push(assets, s3.url())
        s3.later(days=1)
    for key in ("static/mine.txt", "static-of-others/own.png", "other/own.png"):
        s3.objects[key] = b"mine", "tag", {}, 4
        s3.times[key] = START
    before = dict(s3.objects)
    plan = await prune(s3.url(), keep=2, age=DAY / 2, dry_run=True)
    assert s3.objects == before
    report = await prune(s3.url(), keep=2, age=DAY / 2)
    assert sorted(removal.name for removal in report.removed) == sorted(
        removal.name for removal in plan.removed
    )
    assert report.kept == plan.kept == 2
    assert files(s3) == of(pushed[3]) | of(pushed[4]) | {"static/mine.txt"}
    assert {"static-of-others/own.png", "other/own.png"} <= s3.objects.keys()
    assert [removal.kind for removal in report.removed] == ["file"] * 6 + ["record"] * 3
    assert report.size == sum(
        len(before[key][0]) for key in before.keys() - s3.objects.keys() if "/." not in key
    )
    assert len([key for key in s3.objects if "/.scalekit/" in key]) == 3
    assert await read_stand_in(s3) is not None
    assert (await prune(s3.url(), keep=2, age=DAY / 2)).removed == ()


async def test_releases_of_late_stay(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """What was the current release until a moment ago stays, however many have come since."""
    pushed = [release(name) for name in "abc"]
    for assets in pushed:
        await push(assets, s3.url())
    s3.later(days=6)
    assert (await prune(s3.url(), keep=1)).removed == ()
    s3.later(days=2)
    await prune(s3.url(), keep=1)
    assert files(s3) == of(pushed[2])


async def test_no_prefix_but_its_own(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """Two applications in one bucket, one below the other, prune their own files only."""
    for prefix in ("static", "static/admin", ""):
        for name in "ab":
            await push(release(name), s3.url(prefix))
            s3.later(days=30)
    await prune(s3.url(), keep=1)
    assert files(s3, "static/admin/") == of(release("a"), "static/admin/") | of(release("b"), "static/admin/")
    assert of(release("a"), "static/").isdisjoint(s3.objects.keys() - of(release("b"), "static/"))
    assert of(release("a"), "") <= s3.objects.keys()
    await prune(s3.url(""), keep=1)
    assert of(release("a"), "") & s3.objects.keys() == of(release("a"), "") & of(release("b"), "")
    assert of(release("b"), "static/") <= s3.objects.keys()


async def test_what_a_killed_push_left(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """Files of a push that never came to its end stay while it may be under way, and go when they are old."""
    await push(release("a"), s3.url())
    s3.later(days=30)

    def refuse(method: str, key: str) -> None:
        if "/releases/" in key:
            s3.refused["PUT"] = 403, "AccessDenied"

    s3.before = refuse
    with pytest.raises(PushRefused):
        await push(release("b"), s3.url())
    s3.before = lambda method, key: None
    del s3.refused["PUT"]
    s3.later(hours=20)
    assert (await prune(s3.url(), keep=1, age=DAY)).removed == ()
    assert of(release("b")) <= files(s3)
    s3.later(hours=5)
    report = await prune(s3.url(), keep=1, age=DAY)
    assert [removal.kind for removal in report.removed] == ["file", "file", "record"]
    assert files(s3) == of(release("a"))


@pytest.mark.slow
async def test_a_push_that_counts_on_what_goes(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """A release comes back while its old files are pruned: at every order of their requests it is whole."""
    old, between = release("a"), release("b")
    orders = 0
    for steps in range(40):
        async with AssetsS3() as server:
            await push(old, server.url())
            server.later(days=30)
            await push(between, server.url())
            server.later(days=30)
            pruning, pushing = Turns(server), Turns(server)
            tasks = [
                asyncio.create_task(pruning.run(lambda client: prune(server.url(), keep=1, client=client))),
                asyncio.create_task(pushing.run(lambda client: push(old, server.url(), client=client))),
            ]
            # The prune takes so many steps alone, then the push as many as it can, then both.
            await pruning.go(steps)
            await pushing.go(10**9 if steps % 2 else 3)
            await pruning.go(10**9)
            await pushing.go(10**9)
            done = pruning.ended_at
            await asyncio.gather(*tasks)
            site = await read_stand_in(server)
            assert site is not None
            assert site["own.png"] == b"of a"
            orders += 1
            if done is not None and done <= steps:
                break
    assert orders >= 8, "as many as a prune has requests"


class Turns:
    """Lets the requests of one client pass in turns: so many, and then no more."""

    def __init__(self, server: AssetsS3) -> None:
        self._server = server
        self._passed = 0
        self._allowed = 0
        self._changed = asyncio.Condition()
        self._task_done = False
        self.ended_at: int | None = None

    async def run(self, work: Callable[[Any], Any]) -> None:
        from aiobotocore.session import get_session

        async with get_session().create_client("s3", **self._server.client_kwargs) as client:
            make = client._make_api_call

            async def in_turn(*arguments: Any) -> Any:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._passed < self._allowed)
                    self._passed += 1
                try:
                    return await make(*arguments)
                finally:
                    async with self._changed:
                        self._changed.notify_all()

            client._make_api_call = in_turn
            try:
                await work(client)
            finally:
                self.ended_at = self._passed
                async with self._changed:
                    self._task_done = True
                    self._changed.notify_all()

    async def go(self, steps: int) -> None:
        """Let so many more pass; returns when they have, when there are no more, or when it waits itself."""
        async with self._changed:
            self._allowed = min(self._allowed + steps, 10**9)
            self._changed.notify_all()
        for _ in range(80):
            if self._task_done or self._passed >= self._allowed:
                break
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("damage", [b"{}", b"no json", b'{"manifest": ".scalekit/releases/x-y.json"}'])
async def test_a_broken_pointer(s3: AssetsS3, release: Callable[[str], Assets], damage: bytes) -> None:
    """Where nobody can say what the current release names, nothing is removed."""
    for name in "ab":
        await push(release(name), s3.url())
        s3.later(days=30)
    _, tag, headers, _ = s3.objects["static/.scalekit/current.json"]
    s3.objects["static/.scalekit/current.json"] = damage, tag, headers, len(damage)
    before = files(s3)
    with pytest.raises(PushRefused, match="points at no manifest; push again before you prune"):
        await prune(s3.url(), keep=1)
    assert files(s3) == before
    assert not [key for key in s3.objects if "/pruning/" in key]


async def test_a_broken_manifest(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """A manifest that cannot be read, or that names a place of ours, takes nothing away with it."""
    for name in "ab":
        await push(release(name), s3.url())
        s3.later(days=30)
    first = min(key for key in s3.objects if "/releases/" in key)
    content, tag, headers, _ = s3.objects[first]
    s3.objects[first] = b"{", tag, headers, 1
    with pytest.raises(PushRefused, match="nothing is pruned, because asset manifest"):
        await prune(s3.url(), keep=1)
    for name in ("../other", ".scalekit/current.json", "/own.png"):
        broken = content.replace(b'"file": "own', b'"file": "' + name.encode() + b'", "x": "')
        assert broken != content
        s3.objects[first] = broken, tag, headers, len(broken)
        s3.objects["other"] = b"x", "tag", {}, 1
        s3.times["other"] = START
        if name.startswith(".scalekit"):
            await prune(s3.url(), keep=1)
        else:
            with pytest.raises(PushRefused, match="nothing is pruned"):
                await prune(s3.url(), keep=1)
        assert {"other", "static/.scalekit/current.json"} <= s3.objects.keys()


async def test_nothing_there(s3: AssetsS3) -> None:
    """Where nothing was pushed there is nothing to prune."""
    report = await prune(s3.url())
    assert (report.removed, report.kept, s3.objects) == ((), 0, {})


async def test_rounds(
    s3: AssetsS3, release: Callable[[str], Assets], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long prune says again and again that it is at work, and looks again each time."""
    for name in "abcd":
        await push(release(name), s3.url())
        s3.later(days=30)
    moments = iter(range(0, 10**6, 25))  # at each look at the clock 25 s have passed
    monkeypatch.setattr("scalekit.cdn.prune.monotonic", lambda: next(moments))
    await prune(s3.url(), keep=1, concurrency=1)
    assert files(s3) == of(release("d"))
    said = [key for method, key in s3.log if method == "PUT" and "/pruning/" in key]
    assert len(said) == len(set(said)) > 3
    assert not [key for key in s3.objects if "/pruning/" in key]


async def test_a_look_that_takes_too_long(
    s3: AssetsS3, release: Callable[[str], Assets], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is removed by it, and nobody waits for the next ones, which take as long."""
    for name in "ab":
        await push(release(name), s3.url())
        s3.later(days=30)
    moments = iter(range(0, 10**6, 61))
    monkeypatch.setattr("scalekit.cdn.prune.monotonic", lambda: next(moments))
    before = files(s3)
    async with asyncio.timeout(60):
        with pytest.raises(BackendTimeout, match="a prefix of their own"):
            await prune(s3.url(), keep=1)
    assert files(s3) == before
    assert not [key for key in s3.objects if "/pruning/" in key]


async def test_a_killed_prune_is_forgotten(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """A push waits for a prune that was killed two minutes at most, and the next prune clears it away."""
    s3.objects["static/.scalekit/pruning/dead"] = b"{}", "tag", {}, 2
    s3.times["static/.scalekit/pruning/dead"] = s3.now

    def before(method: str, key: str) -> None:
        if method == "LIST":
            s3.later(seconds=30)

    s3.before = before
    await push(release("a"), s3.url())
    assert len([method for method, _ in s3.log if method == "LIST"]) == 5
    s3.before = lambda method, key: None
    report = await prune(s3.url())
    assert [removal.name for removal in report.removed] == [".scalekit/pruning/dead"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 0}, "keep= must be a whole number, at least 1"),
        ({"age": 60}, "at least 3600"),
        ({"concurrency": 0}, "concurrency= must be"),
    ],
)
async def test_bad_numbers(options: dict[str, Any], said: str) -> None:
    """A number that would take away what is in use is refused before anybody is asked."""
    with pytest.raises(ConfigurationError, match=said):
        await prune("s3://bucket/static", **options)


async def test_ended_at_every_request(s3: AssetsS3, release: Callable[[str], Assets]) -> None:
    """A prune that ends at any of its requests has taken nothing that is named, and the next one ends it."""
    for name in "abc":
        await push(release(name), s3.url())
        s3.later(days=30)
    objects, times = dict(s3.objects), dict(s3.times)
    everything = dict.fromkeys(("GET", "PUT", "LIST", "DELETE"), (403, "AccessDenied"))
    s3.log.clear()
    await prune(s3.url(), keep=1, concurrency=1)
    requests, end = len(s3.log), set(s3.objects)
    assert requests > 10

    for last in range(requests):
        s3.objects, s3.times = dict(objects), dict(times)
        s3.log.clear()
        s3.before = lambda *_, last=last: s3.refused.update(everything if len(s3.log) >= last else {})
        if last < requests - 1:
            with pytest.raises(PushRefused):
                await prune(s3.url(), keep=1, concurrency=1)
        else:  # it is done, and says so no more for two minutes
            await prune(s3.url(), keep=1, concurrency=1)
        s3.before = lambda method, key: None
        s3.refused.clear()
        site = await read_stand_in(s3)
        assert site is not None
        assert site["own.png"] == b"of c"
        s3.later(minutes=3)
        await prune(s3.url(), keep=1, concurrency=1)
        assert set(s3.objects) == end
