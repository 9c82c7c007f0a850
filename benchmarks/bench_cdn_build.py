"""A folder of 5,000 files built, cold into an empty folder and warm into one that has it; starts from both.

Beside Django's collectstatic with ManifestStaticFilesStorage, which hashes and renames, and with whitenoise's
CompressedManifestStaticFilesStorage, which compresses as well: gzip 9 and Brotli 11, and so do we here. They
rename no imports of modules. The floor reads every file and hashes it.
"""

import hashlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.management.commands.collectstatic import Command
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from whitenoise.storage import CompressedManifestStaticFilesStorage

from benchmarks._asset_tree import make_tree
from benchmarks.harness import Case
from scalekit.cdn import Assets
from scalekit.cdn.build import build
from scalekit.cdn.compress import Compression

DJANGO = f"collectstatic (Django {version('django')})"
WHITENOISE = f"collectstatic (whitenoise {version('whitenoise')})"
FILES = 5_000
NONE, SAME = Compression.none(), Compression(br=11, gzip=9, zstd=None)


def collect(storage: type[ManifestStaticFilesStorage], out: Path) -> None:
    command = Command()
    command.storage = storage(location=str(out), base_url="/static/")
    call_command(command, interactive=False, verbosity=0)


def fresh(folder: Path, work: Callable[[Path], object]) -> Callable[[], object]:
    """``work`` on a new folder at each call."""
    numbers = itertools.count()
    return lambda: work(folder / f"{next(numbers)}")


def floor(source: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            hashlib.sha256(path.read_bytes()).digest()


async def cases() -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_tree(folder / "src", FILES)
        settings.configure(
            STATIC_URL="/static/",
            STATICFILES_DIRS=[str(source)],
            INSTALLED_APPS=["django.contrib.staticfiles"],
        )
        django.setup()
        for what, compression, rival, storage in (
            ("hashed", NONE, DJANGO, ManifestStaticFilesStorage),
            ("hashed and compressed", SAME, WHITENOISE, CompressedManifestStaticFilesStorage),
        ):
            work = folder / what

            def ours(out: Path, compression: Compression = compression) -> object:
                return build(source, out, compression=compression)

            def theirs(out: Path, storage: type[ManifestStaticFilesStorage] = storage) -> None:
                collect(storage, out)

            yield Case(
                piece="cdn",
                name=f"{FILES} files {what}, cold",
                ours=fresh(work / "ours", ours),
                peers={rival: fresh(work / "theirs", theirs)},
                floor=lambda: floor(source),
                units=FILES,
                rounds=2,
            )
            yield Case(
                piece="cdn",
                name=f"{FILES} files {what}, warm",
                ours=lambda ours=ours, out=work / "ours" / "0": ours(out),
                peers={rival: lambda theirs=theirs, out=work / "theirs" / "0": theirs(out)},
                floor=lambda: floor(source),
                units=FILES,
                rounds=3,
            )
        built = folder / "hashed" / "ours" / "0"
        yield Case(
            piece="cdn",
            name=f"start with {FILES} files, from the manifest",
            ours=lambda: Assets.from_manifest(built / "manifest.json", folder=built),
            peers={"Assets(folder)": lambda: Assets(source)},
            units=FILES,
            rounds=5,
        )
        assets = Assets.from_manifest(built / "manifest.json")
        names = [asset.name for asset in assets]

        def urls() -> int:
            for asset in names:
                assets.url(asset)
            return len(names)

        peer_storage = ManifestStaticFilesStorage(
            location=str(folder / "hashed/theirs/0"), base_url="/static/"
        )

        def their_urls() -> int:
            for asset in names:
                peer_storage.url(asset, force=True)
            return len(names)

        yield Case(
            piece="cdn",
            name="one URL",
            ours=urls,
            peers={f"static (Django {version('django')})": their_urls},
            rounds=20,
        )
