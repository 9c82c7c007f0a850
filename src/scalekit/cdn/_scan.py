"""The files of an asset folder, in an order and under names that do not depend on the machine.

Rules:

* What begins with a dot is left out: ``.git``, ``.env`` and an editor's leftovers are nobody's assets.
* A symbolic link may point anywhere inside the folder. One that leads out of it is refused, for it would
  publish a file that nobody meant to.
* A name is Unicode text; one that is not could not stand in a URL.
"""

import os
from pathlib import Path

from scalekit.errors import ConfigurationError


def resolved(root: Path) -> Path:
    """The folder itself, without links.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        return root.resolve(strict=True)
    except OSError as error:
        # Where a server starts is seldom where its modules lie.
        start = "" if root.is_absolute() else f"; a relative path begins at {os.getcwd()!r}"
        raise ConfigurationError(
            f"asset folder {str(root)!r} cannot be read: {error.strerror}{start}"
        ) from error


def files(root: Path) -> dict[str, Path]:
    """The files below ``root`` by name, sorted; names are relative, with ``/``.

    Raises:
        ConfigurationError: no such folder, a link that leads out of it, or a name that is not text.
    """
    top = resolved(root)
    if not top.is_dir():
        raise ConfigurationError(f"asset folder {str(root)!r} is not a folder")
    found: dict[str, Path] = {}
    _walk(top, top, "", (top,), found)
    return dict(sorted(found.items()))


def _walk(top: Path, folder: Path, prefix: str, above: tuple[Path, ...], found: dict[str, Path]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name, path = prefix + entry.name, Path(entry.path)
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise ConfigurationError(f"asset {name!r} has a name that is not UTF-8; rename it") from error
            link = entry.is_symlink()
            if link:
                path = _inside(top, path, name)
            # An entry that is no link knows what it is: asking the file system takes most of a walk.
            if path.is_dir() if link else entry.is_dir():
                # A link to a folder that we are in would lead round in a circle.
                if path not in above:
                    _walk(top, path, name + "/", (*above, path), found)
            elif path.is_file() if link else entry.is_file():
                found[name] = path


def _inside(top: Path, link: Path, name: str) -> Path:
    try:
        # Not link.resolve(), which is no OSError before Python 3.13 where links lead round in a circle.
        target = Path(os.path.realpath(link, strict=True))
    except OSError as error:
        raise ConfigurationError(f"asset {name!r} is a link that leads nowhere: {error.strerror}") from error
    if not target.is_relative_to(top):
        raise ConfigurationError(
            f"asset {name!r} is a link that leads out of the asset folder; copy the file in or remove it"
        )
    return target
