"""State that one process has to itself, in use."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from flask import Flask
from starlette.middleware.sessions import SessionMiddleware as CookieSessions

from scalekit.ops.doctor import examine, load
from scalekit.ops.doctor.process import weak
from tests.ops.doctor.apps import codes, look, without_drain, write

SECRET = "0123456789abcdef0123456789abcdef"

STATE = """
from fastapi import APIRouter, Depends, FastAPI
from flask import session

app = FastAPI()
router = APIRouter()
carts, seen, served, settings, unused = {}, set(), 0, {"a": 1}, []
pool = None

def visitor(name: str) -> str:
    seen.add(name)
    return name

@router.post("/cart")
async def add(name: str = Depends(visitor)):
    global served, pool
    served += 1
    pool = pool or object()
    carts.setdefault(name, [])
    carts[name][0:] = [settings["a"]]
    local = {}
    local["a"] = 1
    session["flask's"] = 2

@router.get("/")
def home(carts: dict):
    carts["mine"] = 1

def never():
    unused.append(1)

app.include_router(router)
"""


def test_variables_that_requests_change(tmp_path: Path) -> None:
    """What a handler, or what it depends on, changes in its module; nothing local, nothing that is only
    read, no global that is set once, and nothing that no request runs."""
    write(tmp_path, STATE, "state_shop.py")
    found = without_drain(examine(load("state_shop:app", folder=tmp_path)))
    changed = sorted(one.what.partition(":")[0] for one in found if one.code == "process-variable")
    assert changed == ["add() changes carts", "add() changes served", "visitor() changes seen"]
    assert {one.where for one in found} == {"state_shop:11", "state_shop:17", "state_shop:19"}
    assert {one.severity for one in found} == {"warning"}


def test_sessions_caches_and_uploads_in_memory() -> None:
    """What is right for a test is found when it is in use."""
    from scalekit.cache import Cache
    from scalekit.cache.memory import MemoryBackend
    from scalekit.sessions.asgi import SessionMiddleware
    from scalekit.sessions.memory import MemoryStore
    from scalekit.storage.memory import MemoryStorage

    cache, storage, app = Cache(MemoryBackend()), MemoryStorage(), FastAPI()
    app.add_middleware(SessionMiddleware, store=MemoryStore(), secret_key=SECRET)

    @app.get("/")
    async def home() -> str:
        return f"{cache} {storage}"

    assert codes(look(app)) == ["process-cache", "process-sessions", "process-storage"]


def test_starlettes_sessions() -> None:
    """Sessions in the cookie are a note; a secret that everybody tries is an error, and is not shown."""
    app = FastAPI()
    app.add_middleware(CookieSessions, secret_key=SECRET)
    assert codes(look(app)) == ["cookie-sessions"]
    app = FastAPI()
    app.add_middleware(CookieSessions, secret_key="super-secret-key")
    found = look(app)
    assert codes(found) == ["cookie-sessions", "secret-known"]
    assert "super" not in str(found)


def test_flask(tmp_path: Path) -> None:
    """Flask's own sessions are fine with a secret; debugging, and files without a hash, are not."""
    assert look(Flask("shop", static_folder=None)) == []
    (tmp_path / "site.css").write_text("")
    app = Flask("shop", static_folder=str(tmp_path))
    app.secret_key, app.config["DEBUG"] = "dev", True
    assert codes(look(app)) == ["assets-without-hash", "debug-on", "secret-known"]


def test_files_with_a_hash(tmp_path: Path) -> None:
    """Files that Assets serves, or renames in templates, are fine; an empty folder is, too."""
    from scalekit.cdn import Assets

    app = FastAPI(debug=True)
    app.mount("/static", StaticFiles(directory=tmp_path))
    assert codes(look(app)) == ["debug-on"]
    (tmp_path / "site.css").write_text("")
    assert codes(look(app)) == ["assets-without-hash", "debug-on"]
    assert codes(look(app, assets=Assets(tmp_path))) == ["debug-on"]


def test_assets_of_a_manifest_without_hashes(tmp_path: Path) -> None:
    """A manifest of a tool that does not rename is told."""
    from scalekit.cdn import Assets

    (tmp_path / "manifest.json").write_text('{"main.js": "main.js"}')
    found = look(assets=Assets.from_manifest(tmp_path / "manifest.json"))
    assert codes(found) == ["assets-without-hash"]
    assert "1 of 1 assets, 'main.js' for one," in found[0].what


@pytest.mark.parametrize(
    "secret", ["secret", "changeme", "dev", "CHANGE ME", "my-secret-key", "password", "short"]
)
def test_secrets_that_are_none(secret: str) -> None:
    """What is in tutorials, and what is short."""
    reason = weak(secret)
    assert reason is not None
    assert secret not in reason


def test_secrets_that_are_some() -> None:
    """What was drawn is not told from another; nor is a sentence."""
    for secret in (SECRET, "a secret of the tests, long enough", "kX3-vb0_R7mPq1ZtYw8sLdHf"):
        assert weak(secret) is None
