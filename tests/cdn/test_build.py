"""Assets built into a folder."""

import errno
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

brotli = pytest.importorskip("brotli")

from scalekit.cdn import AssetFile, Assets, Manifest  # noqa: E402
from scalekit.cdn._built import Built  # noqa: E402
from scalekit.cdn.build import BuildChange, BuildProgress, build, releases  # noqa: E402
from scalekit.cdn.compress import Compression  # noqa: E402
from scalekit.errors import ConfigurationError  # noqa: E402
from tests.cdn.conftest import FILES, write_tree  # noqa: E402
from tests.cdn.killed_build import state  # noqa: E402

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

TEXT = b"a text that compresses well, for it repeats itself; " * 40
NOISE = random.Random(1).randbytes(3_000)
TREE = {**FILES, "long.txt": TEXT, "noise.txt": NOISE, "app.wasm": TEXT, "noise.bin": TEXT, "empty.css": b""}
GZIP = Compression(br=None, zstd=None)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file but the lock, with what changes when it is written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "lock":
            status = path.stat()
            found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns)
    return found


def test_what_is_built_is_what_a_folder_serves(tmp_path: Path) -> None:
    """The hashed files, the URLs and the digests are those that ``Assets`` of the folder itself has."""
    source = write_tree(tmp_path / "src", TREE)
    report = build(source, tmp_path / "out")
    direct = Assets(source)
    built = Assets.from_manifest(tmp_path / "out" / "manifest.json", folder=tmp_path / "out")
    assert report.assets == len(TREE) == len(built)
    for asset in direct:
        assert isinstance(asset, AssetFile)
        again = built.get(asset.name)
        assert isinstance(again, AssetFile)
        assert again.hashed_name == asset.hashed_name
        assert again.integrity == asset.integrity
        assert again.path.read_bytes() == (asset.rendered or asset.path.read_bytes())
    assert built.version == direct.version


def test_variants(tmp_path: Path) -> None:
    """Text and WebAssembly have one in each coding, what gains nothing has none; each unpacks to its file."""
    out = tmp_path / "out"
    build(write_tree(tmp_path / "src", TREE), out)
    manifest = Manifest.load(out / "manifest.json")
    having = {name for name, entry in manifest.items() if entry.encodings == ("br", "gzip", "zstd")}
    assert having == {"long.txt", "app.wasm"}
    for name in ("noise.txt", "noise.bin", "logo.png", "empty.css"):
        assert manifest[name].encodings == ()
    body = (out / manifest["long.txt"].hashed_name).read_bytes()
    read = {name: (out / name).read_bytes() for name in manifest["long.txt"].files[1:]}
    br, gz, zst = read.values()
    assert brotli.decompress(br) == gzip.decompress(gz) == zstd.decompress(zst) == body == TEXT
    assert max(len(br), len(gz), len(zst)) < len(TEXT)
    assert gz[3:8] == bytes(5)  # neither a name nor a time


def test_two_hosts_build_the_same_bytes(tmp_path: Path) -> None:
    """Every file of the folder, but for the lock, is the same when another host builds the same tree."""
    one = write_tree(tmp_path / "one" / "src", TREE)
    two = write_tree(tmp_path / "two" / "src", dict(reversed(TREE.items())))
    for path in two.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    build(one, tmp_path / "one" / "out", jobs=1)
    build(two, tmp_path / "two" / "out", jobs=4)

    def contents(folder: Path) -> dict[str, bytes]:
        return {name: (folder / name).read_bytes() for name in files(folder)}

    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "two" / "out")


def test_a_second_build_writes_nothing(tmp_path: Path) -> None:
    """Not one file is written again, nor looked into for its compression."""
    source, out = write_tree(tmp_path / "src", TREE), tmp_path / "out"
    first = build(source, out)
    before = files(out)
    second = build(source, out)
    assert files(out) == before
    assert (second.written, second.unchanged, second.removed) == (0, first.written, 0)
    assert second.releases == 1


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    """Another image is written, and the style sheet that shows it; nothing else but the manifests."""
    source, out = write_tree(tmp_path / "src", TREE), tmp_path / "out"
    build(source, out)
    (source / "img" / "photo one.jpg").write_bytes(b"another photo")
    changes: list[BuildChange] = []
    progress: list[BuildProgress] = []
    report = build(source, out, on_change=changes.append, on_progress=progress.append)
    assert {change.name.partition(".")[0] for change in changes} == {"img/photo one", "css/site"}
    assert report.written == 2
    assert progress[-1].done == progress[-1].total
    assert report.releases == 2


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    """Whatever is missing or cut short in the folder is there after the next build."""
    source, out = write_tree(tmp_path / "src", TREE), tmp_path / "out"
    build(source, out)
    manifest = Manifest.load(out / "manifest.json")
    (out / manifest["logo.png"].hashed_name).unlink()
    (out / manifest["long.txt"].files[1]).unlink()
    (out / manifest["app.wasm"].files[2]).write_bytes(b"")
    (out / manifest["app.js"].hashed_name).write_bytes(b"cut")
    build(source, out)
    assert state(out) == "whole"
    assert (out / manifest["app.js"].hashed_name).read_bytes() == FILES["app.js"]
    assert gzip.decompress((out / manifest["app.wasm"].files[2]).read_bytes()) == TEXT


def test_other_levels_make_other_variants(tmp_path: Path) -> None:
    """A coding that is left out has no variants from then on; another level writes them again."""
    source, out = write_tree(tmp_path / "src", {"long.txt": TEXT}), tmp_path / "out"
    build(source, out)
    build(source, out, compression=GZIP, keep=1)
    assert Manifest.load(out / "manifest.json")["long.txt"].encodings == ("gzip",)
    assert not list(out.glob("*.br"))
    before = files(out)
    build(source, out, compression=Compression(br=None, zstd=None, gzip=1), keep=1)
    assert {name for name, facts in files(out).items() if before.get(name) != facts} == {
        Manifest.load(out / "manifest.json")["long.txt"].files[1],
        ".scalekit/levels.json",
    }
    build(source, out, compression=Compression.none(), keep=1)
    assert Manifest.load(out / "manifest.json")["long.txt"].encodings == ()


def test_the_last_releases_stay(tmp_path: Path) -> None:
    """Their files and manifests are there, older ones' are not, and a file that both have is kept."""
    source, out = write_tree(tmp_path / "src", {"same.txt": TEXT, "deep/er/x.txt": b"0"}), tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "foreign.txt").write_bytes(b"not ours")
    manifests = []
    for number in range(5):
        (source / "deep/er/x.txt").write_bytes(b"%d" % number)
        report = build(source, out, keep=2, compression=GZIP)
        manifests.append((out / "manifest.json").read_bytes())
        assert state(out) == "whole"
    assert report.releases == 2
    assert [kept.to_bytes() for kept in releases(out)] == manifests[-2:]
    assert len(list((out / "deep" / "er").iterdir())) == 2
    (source / "deep/er/x.txt").unlink()
    report = build(source, out, keep=1, compression=GZIP)
    assert report.removed == 2
    assert not (out / "deep" / "er").exists()
    assert (out / "deep" / "foreign.txt").read_bytes() == b"not ours"


def test_back_to_an_older_release(tmp_path: Path) -> None:
    """Built again, it is the newest, counts once, and nothing of it is written."""
    source, out = write_tree(tmp_path / "src", {"x.txt": b"1"}), tmp_path / "out"
    build(source, out, compression=GZIP)
    (source / "x.txt").write_bytes(b"2")
    build(source, out, compression=GZIP)
    (source / "x.txt").write_bytes(b"1")
    report = build(source, out, compression=GZIP)
    assert (report.written, report.releases) == (0, 2)
    assert [Assets.from_manifest(kept).url("x.txt") for kept in releases(out)][-1] == Assets(source).url(
        "x.txt"
    )


def test_a_folder_copied_without_its_hidden_files(tmp_path: Path) -> None:
    """The release that it has is taken for the one before, and stays."""
    source, out = write_tree(tmp_path / "src", {"x.txt": b"1"}), tmp_path / "out"
    build(source, out, compression=GZIP)
    for path in sorted((out / ".scalekit").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (out / ".scalekit").rmdir()
    assert releases(out) == []
    (source / "x.txt").write_bytes(b"2")
    assert build(source, out, compression=GZIP).releases == 2
    assert len(list(out.glob("x.*.txt"))) == 2


@pytest.mark.parametrize("name", ["a\nb.png", "a\x7fb.png", "a\\b.js"])
def test_a_name_that_no_manifest_can_have(tmp_path: Path, name: str) -> None:
    """A file that a server could not read out of the manifest ends the build before anything is written, and
    the release stays.
    """
    source, out = write_tree(tmp_path / "src", FILES), tmp_path / "out"
    build(source, out)
    before = files(out)
    (source / name).write_bytes(b"odd")
    with pytest.raises(ConfigurationError, match=r"control character, a backslash .*rename it"):
        build(source, out)
    assert files(out) == before
    (source / name).unlink()
    assert build(source, out).written == 0


def test_builds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave the release as it was, and no more than one of them has written, however many there are."""
    source, out = tmp_path / "src", tmp_path / "dist"
    write_tree(source, {f"{number}.js": b"first()" * 50 for number in range(6)})
    build(source, out)
    first = files(out)
    place = Built._place
    for attempt in range(4):
        write_tree(source, {f"{number}.js": b"%d()" % attempt * 50 for number in range(6)})
        room = itertools.count(1)

        def full(self: Built, draft: Path, name: str, room: Any = room) -> None:
            if next(room) > 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            place(self, draft, name)

        monkeypatch.setattr(Built, "_place", full)
        with pytest.raises(OSError, match="No space"):
            build(source, out, jobs=1)
        assert first.items() <= files(out).items()
        Assets.from_manifest(out / "manifest.json", folder=out)
        left = {name for name in set(files(out)) - set(first) if "/tmp/" not in name}
        assert 0 < len(left) <= 5, left
    monkeypatch.undo()
    # The last one is taken up where it ended; a file of another is not there.
    report = build(source, out, keep=1)
    assert (report.releases, report.assets) == (1, 6)
    assert {name for name in files(out) if not name.startswith(".")} == {
        "manifest.json",
        *Manifest.load(out / "manifest.json").files,
    }


def test_the_file_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is another when it is written than when it was hashed ends the build."""
    source, out = write_tree(tmp_path / "src", {"a.txt": b"1", "b.bin": b"1"}), tmp_path / "out"
    build(source, out)
    for name in ("a.txt", "b.bin"):
        (source / name).write_bytes(b"2")

        def early(built: Any, *rest: Any, name: str = name) -> Mapping[str, Any]:
            (source / name).write_bytes(b"3")
            return {}

        with monkeypatch.context() as patched:
            patched.setattr("scalekit.cdn._built.Built.entries", early)
            with pytest.raises(ConfigurationError, match=rf"{name}' changed while it was built; build again"):
                build(source, out)
        assert state(out) == "whole"
        assert len(releases(out)) == 1
        (source / name).write_bytes(b"1")


@pytest.mark.parametrize(
    "case", ["inside", "around", "same", "missing", "file", "foreign", "broken", "locked"]
)
def test_folders_that_cannot_be_built_into(tmp_path: Path, case: str) -> None:
    """An error says what is wrong and what to do; nothing is written."""
    source, out = write_tree(tmp_path / "src", {"x.txt": b"1"}), tmp_path / "out"
    words = "build into a folder beside it"
    if case == "inside":
        out = source / "out"
    elif case == "around":
        out = tmp_path
    elif case == "same":
        out = source
    elif case == "missing":
        source, words = tmp_path / "nowhere", "nowhere"
    elif case == "file":
        out.write_bytes(b"")
        words = "cannot be built into"
    elif case in ("foreign", "broken"):
        text = b'{"main.js": "main.js"}' if case == "foreign" else b'{"format": "scalekit.assets"'
        write_tree(out, {"manifest.json": text})
        words = r"manifest\.json.*remove that file"
    elif case == "locked":
        code = (
            "import sys; from pathlib import Path; from scalekit.cdn._built import Built\n"
            "with Built(Path(sys.argv[1])).lock(): print(flush=True); input()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        words = "another build into .*out' is under way"
    with pytest.raises(ConfigurationError, match=words):
        build(source, out)
    assert not list(tmp_path.rglob("x.*.txt"))
    if case == "locked":
        holder.communicate(b"\n", timeout=30)
        assert build(source, out).written == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gzip": 10}, "gzip=10 is no level from 1 to 9; None"),
        ({"br": -1}, "br=-1 is no level from 0 to 11"),
        ({"zstd": 22}, "zstd=22 is no level from 1 to 19"),
        ({"gzip": "9"}, "gzip='9' is no level"),
    ],
)
def test_wrong_levels(options: Any, words: str) -> None:
    """A level that the coding, or a browser's memory, does not have is an error where it is written."""
    with pytest.raises(ConfigurationError, match=words):
        Compression(**options)
    with pytest.raises(ConfigurationError, match=r"keep= must be .* at least 1"):
        build("src", "out", keep=0)


def test_without_the_extra(tmp_path: Path) -> None:
    """Without brotli and zstd gzip's variants are made, and the report names what is missing."""
    write_tree(tmp_path / "src", {"long.txt": TEXT})
    code = (
        "import sys, json\n"
        "for name in ('brotli', 'backports', 'compression'): sys.modules[name] = None\n"
        "from scalekit.cdn.build import build\n"
        "print(json.dumps(build(sys.argv[1], sys.argv[2]).missing_codings))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "src", tmp_path / "out"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["br", "zstd"]
    assert Manifest.load(tmp_path / "out" / "manifest.json")["long.txt"].encodings == ("gzip",)


def test_a_build_killed_at_every_step(tmp_path: Path) -> None:
    """SIGKILL before each change to the folder, and after it: the old release or the new one is whole, also
    those kept beside it, and the next build ends as if nothing had happened, with nothing left over."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cdn.killed_build", tmp_path], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["kills"] > 60
    assert report["old"] > 0
    assert report["new"] > 0
