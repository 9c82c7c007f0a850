"""Which assets a command is about: a built folder with its manifest, or a plain one."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalekit.cdn import Assets

_BUILT = "manifest.json"


def add_source(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`find` reads."""
    parser.add_argument(
        "--from",
        dest="folder",
        default="dist",
        metavar="FOLDER",
        help="what 'scalekit assets build' has written, or a plain folder of files (dist)",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="the manifest of another tool that built FOLDER, such as dist/.vite/manifest.json",
    )
    parser.add_argument(
        "--url",
        default="/static/",
        metavar="PATH",
        help="the path that pages have the files under (/static/)",
    )


def find(arguments: argparse.Namespace) -> "Assets":
    """The assets of ``--from``.

    Raises:
        ConfigurationError: there is no such folder, or its manifest is not usable.
    """
    from scalekit.cdn import Assets

    folder = Path(arguments.folder)
    manifest = arguments.manifest or (folder / _BUILT if _is_ours(folder / _BUILT) else None)
    if manifest is None:
        return Assets(folder, url=arguments.url)
    return Assets.from_manifest(manifest, folder=folder, url=arguments.url)


def _is_ours(path: Path) -> bool:
    """Whether a file is a manifest of ours: that of an installable page is often called the same."""
    from scalekit.cdn.manifest import FORMAT

    try:
        whole = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(whole, dict) and whole.get("format") == FORMAT
