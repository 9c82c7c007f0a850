"""The files of a release as they go to S3: which bytes, under which name, with which headers, in which order.

Rules:

* A name that changes with the content is good for ever; another one for ``max_age`` seconds, and it is sent
  last, for what it replaces is gone then.
* What is sent is what the manifest says, digest by digest: a file that has changed since is refused.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from scalekit.cdn._asset import AssetFile
from scalekit.cdn._order import levels, may_refer, named_in
from scalekit.cdn._releases import OURS
from scalekit.cdn._s3 import Headers
from scalekit.cdn.assets import Assets
from scalekit.cdn.manifest import SUFFIXES
from scalekit.errors import ConfigurationError

_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One file.

    Args:
        name: below the prefix.
        source: where its bytes are, or they themselves.
        size: how many they are.
        headers: with ``sha256`` where the manifest says what it is to be.
        immutable: whether its name changes with its content.
    """

    name: str
    source: Path | bytes
    size: int
    headers: Headers
    immutable: bool

    def read(self) -> "Content":
        """Its bytes and their digests.

        Raises:
            ConfigurationError: they cannot be read, or are not what the manifest says.
        """
        if isinstance(self.source, bytes):
            body = self.source
        else:
            try:
                body = self.source.read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"asset file {str(self.source)!r} cannot be read: {error.strerror}"
                ) from error
        sha256 = hashlib.sha256(body).hexdigest()
        if self.headers.sha256 not in (None, sha256):
            raise ConfigurationError(
                f"asset file {self.name!r} has changed since it was hashed; build the assets again"
            )
        return Content(body=body, sha256=sha256, md5=hashlib.md5(body, usedforsecurity=False).digest())


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What :meth:`Upload.read` found; ``md5`` is what S3 checks."""

    body: bytes
    sha256: str
    md5: bytes


def uploads(assets: Assets) -> list[list[Upload]]:
    """All files of ``assets`` in groups, each to be there before the next one.

    Raises:
        ConfigurationError: files are missing here, or a name is one of ours.
    """
    found: dict[str, Upload] = {}
    texts: dict[str, Upload] = {}
    variants: dict[str, str] = {}
    for asset in assets:
        if not isinstance(asset, AssetFile):
            raise ConfigurationError(
                f"the file of asset {asset.name!r:.200} is not here; give the folder of the hashed files"
            )
        if asset.hashed_name.startswith(OURS):
            raise ConfigurationError(f"asset {asset.name!r:.200} has a name below {OURS!r}; rename it")
        main = _main(asset, assets.max_age)
        found[main.name] = main
        if may_refer(asset.content_type):
            texts[main.name] = main
        for variant in _variants(asset, main):
            found[variant.name] = variant
            variants[variant.name] = main.name
    names = {
        part.encode(): name
        for name in found
        for part in (name.rpartition("/")[2], quote(name.rpartition("/")[2]))
    }
    named = {name: named_in(text.read().body, names) for name, text in texts.items()}
    references = {
        # Nothing can be seen in what is compressed; it says what its original does.
        name: named.get(variants.get(name, name), set())
        for name, upload in found.items()
        if upload.immutable
    }
    groups = [[found[name] for name in level] for level in levels(references)]
    last = [upload for upload in found.values() if not upload.immutable]
    return [*groups, last] if last else groups


def _main(asset: AssetFile, max_age: int) -> Upload:
    source = asset.path if asset.rendered is None else asset.rendered
    return Upload(
        name=asset.hashed_name,
        source=source,
        size=len(source) if isinstance(source, bytes) else asset.size,
        headers=Headers(
            content_type=asset.content_type,
            cache_control=_FOR_EVER if asset.immutable else f"public, max-age={max_age}",
            sha256=asset.rendered_digest,
        ),
        immutable=asset.immutable,
    )


def _variants(asset: AssetFile, main: Upload) -> Iterable[Upload]:
    for coding in asset.encodings:
        path = asset.path.with_name(asset.path.name + SUFFIXES[coding])
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ConfigurationError(
                f"the {coding} variant of asset {asset.name!r:.200} is not here: {error.strerror}; build the "
                "assets again"
            ) from error
        yield Upload(
            name=main.name + SUFFIXES[coding],
            source=path,
            size=size,
            headers=Headers(
                content_type=main.headers.content_type,
                cache_control=main.headers.cache_control,
                content_encoding=coding,
            ),
            immutable=main.immutable,
        )
