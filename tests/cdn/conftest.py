"""A small tree of assets, the same for every test of the piece."""

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit.cdn import Assets
from tests.cdn.drivers import Shell

CDN = "https://cdn.example.net"

FILES = {
    "logo.png": b"\x89PNG logo",
    "app.js": b"console.log('shop')\n",
    "hero.webp": b"hero",
    "hero@2x.webp": b"hero at twice the size",
    "img/photo one.jpg": b"a photo",
    "img/bücher.png": b"books",
    "img/a&b.png": b"an ampersand in its name",
    "css/site.css": b'@import "base.css";\nbody { background: url(../img/photo%20one.jpg) }\n',
    "css/base.css": b"h1 { color: teal }\n",
    "icons.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "movie.mp4": bytes(range(256)) * 4,
}


@pytest.fixture(scope="session", autouse=True)
def models_are_read_once() -> Iterator[None]:
    """For each client botocore parses a megabyte of JSON, and the tests of pushing make many."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("botocore"):
            from botocore.loaders import JSONFileLoader

            load = functools.cache(JSONFileLoader().load_file)
            patch.setattr(JSONFileLoader, "load_file", lambda self, path: load(path))
        yield


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("assets"), FILES)


@pytest.fixture(scope="session")
def assets(folder: Path) -> Assets:
    return Assets(folder, url="/static/", cdn=CDN)


@pytest.fixture(params=["asgi", "wsgi"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """Each of the two middlewares."""
    return Shell(request.param)
