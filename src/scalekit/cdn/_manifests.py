"""Manifests of other tools: Vite, webpack (webpack-manifest-plugin, webpack-assets-manifest) and Django.

Rules:

* Vite (``.vite/manifest.json``): each entry has a ``file``; names are paths of sources, which may lead out of
  the project (``../node_modules/...``), for they are looked up and never opened. Style sheets and files that
  stand only in an entry's ``css`` and ``assets`` go by their own name. Its scripts are modules. The style
  sheets of an entry come after those of what it ``imports``, as in the pages that Vite writes itself; what it
  imports later, the script that does so brings.
* Django (``staticfiles.json``): ``version`` 1.0 or 1.1, and ``paths`` from names to hashed names.
* webpack: a name has a path, or an object with its ``src`` and perhaps its ``integrity``; both may stand in
  ``files``, and ``entrypoints`` says nothing new. A path may begin with the ``publicPath``, which has to be
  the ``url`` of the assets, at any host.
* A file that is called as its source is has no hash, and may change under its name, unless 16 or more hex
  digits stand in it.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, TypedDict
from urllib.parse import urlsplit

from scalekit.cdn._media import content_type
from scalekit.cdn._names import fault_of
from scalekit.cdn.scripts import is_script
from scalekit.errors import ConfigurationError

_UPWARDS = re.compile(r"(?:\.\./)+")
_LONG_HASH = re.compile(r"(?:^|[.-])[0-9a-f]{16,64}\.")
_SHA256 = re.compile(r"(?:^|\s)sha256-([A-Za-z0-9+/]{43}=)(?=$|\s)")


class Facts(TypedDict):
    """What such a manifest says of an asset."""

    name: str
    hashed_name: str
    content_type: str
    digest: str | None
    immutable: bool
    module: bool
    styles: tuple[str, ...]


def read(whole: dict[str, Any], *, source: str, url: str) -> list[Facts]:
    """The assets that ``whole`` names.

    Raises:
        ConfigurationError: it is of none of these tools, or an entry cannot be used.
    """
    if isinstance(whole.get("paths"), dict) and "version" in whole:
        found = _django(whole, source)
    elif whole and all(isinstance(entry, dict) and "file" in entry for entry in whole.values()):
        found = _vite(whole, source)
    else:
        found = _webpack(whole, source, url)
    return list(found)


def _django(whole: dict[str, Any], source: str) -> Iterator[Facts]:
    if whole["version"] not in ("1.0", "1.1"):
        raise ConfigurationError(
            f"asset manifest {source} is Django's of version {whole['version']!r:.40}, and known are 1.0 and "
            "1.1; use a scalekit that is newer than this Django"
        )
    for name, file in whole["paths"].items():
        _check(name, source, entry=name, cure="run 'manage.py collectstatic' again")
        yield _facts(name, file, source, cure="run 'manage.py collectstatic' again")


def _vite(whole: dict[str, Any], source: str) -> Iterator[Facts]:
    cure = "build it again with 'vite build'"
    found: dict[str, Facts] = {}
    for name, entry in whole.items():
        _check(
            _UPWARDS.sub("", name, count=1) if name.startswith("../") else name, source, entry=name, cure=cure
        )
        facts = _facts(name, entry["file"], source, cure=cure)
        found[name] = {**facts, "module": is_script(facts["hashed_name"])}
    files = {facts["hashed_name"]: name for name, facts in found.items()}
    for name, entry in whole.items():
        for file in [*_texts(entry.get("css")), *_texts(entry.get("assets"))]:
            if file not in files:
                files[file] = file
                yield {**_facts(name, file, source, cure=cure), "name": file, "immutable": True}
    for name, facts in found.items():
        styles = dict.fromkeys(files[file] for file in _styles(whole, name)) if _is_entry(whole[name]) else ()
        yield {**facts, "styles": tuple(styles)}


def _is_entry(entry: dict[str, Any]) -> bool:
    return bool(entry.get("isEntry") or entry.get("isDynamicEntry"))


def _styles(whole: dict[str, Any], name: str) -> Iterator[str]:
    """The style sheets of an entry, after those of all that it imports."""
    entered = {name}
    way = [(whole[name], iter(_texts(whole[name].get("imports"))))]
    while way:
        entry, imports = way[-1]
        imported = next((chunk for chunk in imports if chunk in whole and chunk not in entered), None)
        if imported is None:
            way.pop()
            yield from _texts(entry.get("css"))
        else:
            entered.add(imported)  # imports may go round in a circle
            way.append((whole[imported], iter(_texts(whole[imported].get("imports")))))


def _webpack(whole: dict[str, Any], source: str, url: str) -> Iterator[Facts]:
    files = whole["files"] if isinstance(whole.get("files"), dict) else whole
    taken = 0
    for key, value in files.items():
        file: Any = value
        integrity: Any = None
        if isinstance(value, dict) and isinstance(value.get("src"), str):
            file, integrity = value["src"], value.get("integrity")
        elif not isinstance(value, str):
            continue  # entrypoints, or what a plugin was told to add
        taken += 1
        cure = f"set webpack's publicPath to url={url!r}, the plugin's basePath to '', and build again"
        name = key.removeprefix(url)
        _check(name, source, entry=key, cure=cure)
        facts = _facts(name, _below(file, url), source, cure=cure)
        yield {**facts, "digest": _digest(integrity)}
    if not taken and files:
        raise ConfigurationError(
            f"asset manifest {source} is neither scalekit's nor Vite's, webpack's or Django's; give the file "
            "that one of them writes"
        )


def _below(file: str, url: str) -> str:
    """webpack's path without its ``publicPath``."""
    parts = urlsplit(file)
    path = parts.path if parts.netloc else file
    return path.removeprefix(url) if path.startswith("/") else path.removeprefix("./")


def _facts(name: str, file: Any, source: str, *, cure: str) -> Facts:
    if not isinstance(file, str):
        raise ConfigurationError(f"asset manifest {source}: entry {name!r:.200} names no file; {cure}")
    _check(file, source, entry=name, cure=cure)
    if "?" in file or "#" in file:
        raise ConfigurationError(
            f"asset manifest {source}: entry {name!r:.200} has a query or fragment in its file "
            f"{file!r:.200}; put the hash into the file's name instead"
        )
    base = file.rpartition("/")[2]
    return {
        "name": name,
        "hashed_name": file,
        "content_type": content_type(file),
        "digest": None,
        "immutable": base != name.rpartition("/")[2] or _LONG_HASH.search(base) is not None,
        "module": False,
        "styles": (),
    }


def _check(name: str, source: str, *, entry: str, cure: str) -> None:
    fault = fault_of(name)
    if fault is not None:
        raise ConfigurationError(
            f"asset manifest {source}: entry {entry!r:.200} has a name {name!r:.200} that {fault}; {cure}"
        )


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _digest(integrity: Any) -> str | None:
    found = _SHA256.search(integrity) if isinstance(integrity, str) else None
    if found is None:
        return None
    try:
        return base64.b64decode(found[1], validate=True).hex()
    except binascii.Error:
        return None
