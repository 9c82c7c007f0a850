"""Precompressed variants of files, made once when assets are built.

Rules:

* The same bytes and levels give the same variant, wherever the same version of the compressor is; gzip's has
  no name and no time in it.
* A variant is made of what compression helps: text, WebAssembly, fonts that are not compressed by themselves.
  It is kept if it saves at least a twentieth: below that a browser's work is worth more.
* ``br`` and ``zstd`` are made where the extra ``compress`` is installed, or else when they are asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from scalekit.cdn import _gzip
from scalekit.cdn._media import compressible
from scalekit.errors import ConfigurationError, MissingExtra

_LEVELS = {"br": (0, 11), "gzip": (1, 9), "zstd": (1, 19)}
_KEPT = 0.95

Compressor = Callable[[bytes, int], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """Which variants are made, and at which level; ``None`` makes none in that coding.

    Args:
        br: quality of Brotli, 0 to 11; default 11, the smallest.
        gzip: level of zlib, 1 to 9; default 9.
        zstd: level of Zstandard, 1 to 19, for higher ones need more memory than browsers allow; default 19.

    Raises:
        ConfigurationError: a level is out of its range.
    """

    br: int | None = 11
    gzip: int | None = 9
    zstd: int | None = 19

    def __post_init__(self) -> None:
        for coding, (least, most) in _LEVELS.items():
            level: Any = getattr(self, coding)
            if level is not None and (not isinstance(level, int) or not least <= level <= most):
                raise ConfigurationError(
                    f"{coding}={level!r:.40} is no level from {least} to {most}; None makes no variants"
                )

    @classmethod
    def none(cls) -> "Compression":
        """No variants at all."""
        return cls(br=None, gzip=None, zstd=None)

    @property
    def levels(self) -> dict[str, int]:
        """The level of each coding that can be had here, by its name."""
        levels = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: level for name, level in levels.items() if level is not None and _compressor(name)}

    @property
    def missing(self) -> tuple[str, ...]:
        """The codings that are wanted and cannot be had here, for want of the extra ``compress``."""
        return tuple(
            field.name
            for field in fields(self)
            if getattr(self, field.name) is not None and _compressor(field.name) is None
        )


def variant(name: str, data: bytes, coding: str, level: int) -> bytes | None:
    """The variant of the file ``name`` with the content ``data``; ``None`` if it saves too little."""
    compressor = _compressor(coding) if compressible(name) and data else None
    if compressor is None:
        return None
    body = compressor(data, level)
    return body if len(body) <= len(data) * _KEPT else None


def _compressor(coding: str) -> Compressor | None:
    if coding == "gzip":
        return _gzip.compress
    try:
        if coding == "br":
            from scalekit.cdn import _brotli

            return _brotli.compress
        from scalekit.cdn import _zstd
    except MissingExtra:
        return None
    return _zstd.compress
