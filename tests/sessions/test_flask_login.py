"""Flask-Login on our sessions, as docs/howto/sessions-migration.md shows it."""

from typing import Any

import pytest
from flask import Flask

from scalekit.sessions import Store, UserSessions
from scalekit.sessions.flask import ServerSessionInterface, session
from scalekit.sessions.migration import FlaskCookie
from tests.docs.blocks import ROOT, python_blocks
from tests.sessions.legacy import flask_value
from tests.sessions.shells import SECRET

flask_login: Any = pytest.importorskip("flask_login")

# Its own affair, since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

PAGE = ROOT / "docs" / "howto" / "sessions-migration.md"
OLD = "what the old application signs with"


class User:
    """What Flask-Login wants of a user."""

    is_active = is_authenticated = True

    def __init__(self, user_id: str) -> None:
        self.id = user_id

    def get_id(self) -> str:
        return self.id


@pytest.fixture
def names() -> dict[str, Any]:
    """What the page's blocks for Flask-Login define."""
    names: dict[str, Any] = {"session": session}
    code = [block.code for block in python_blocks(PAGE) if "flask_login" in block.code]
    assert len(code) == 2
    for block in code:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.fixture
def app(names: dict[str, Any], store: Store) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of Flask-Login's other cookie")
    app.session_interface = ServerSessionInterface(
        store,
        secret_key=SECRET,
        migrate=[FlaskCookie(secret_key=OLD, user=lambda data: data.get("_user_id"))],
    )
    manager = flask_login.LoginManager(app)
    manager.user_loader(User)

    @app.get("/")
    def who() -> list[Any]:
        user = flask_login.current_user
        return [user.id if user.is_authenticated else None, session.user_id]

    @app.post("/login/<name>")
    def login(name: str) -> str:
        names["enter"](User(name))
        return ""

    @app.post("/remember/<name>")
    def remember(name: str) -> str:
        session.login(name)
        flask_login.login_user(User(name), remember=True)
        return ""

    @app.post("/logout")
    def logout() -> str:
        names["leave"]()
        return ""

    return app


def test_they_agree_who_is_logged_in(app: Flask, store: Store) -> None:
    """33. A visitor of the old application logs out, and in as another: both agree, and it is listed."""
    users = UserSessions(store)
    client = app.test_client()
    client.set_cookie("session", flask_value({"_user_id": "7"}, secret_key=OLD))
    assert client.get("/").json == ["7", "7"]
    client.post("/logout")
    assert client.get("/").json == [None, None]
    client.post("/login/8")
    assert client.get("/").json == ["8", "8"]
    assert (len(users.list("7")), len(users.list("8"))) == (0, 1)
    assert users.revoke_all("8") == 1
    assert client.get("/").json == [None, None]


def test_a_remembered_user(app: Flask) -> None:
    """33. Who comes back by "remember me" is logged in to both; a log-out ends that, too."""
    client = app.test_client()
    client.post("/remember/9")
    client.delete_cookie("session")
    assert client.get("/").json == ["9", "9"]
    client.post("/logout")
    assert client.get_cookie("remember_token") is None
    assert client.get("/").json == [None, None]
