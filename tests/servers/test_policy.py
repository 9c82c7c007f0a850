"""What happens when a server is not installed."""

import pytest

from tests.conftest import missing
from tests.servers import Memcached, ServerMissing


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **kwargs: None)


@pytest.mark.usefixtures("no_programs")
def test_a_missing_program_names_its_cure() -> None:
    """The error says which command installs it, and nothing was started."""
    with pytest.raises(ServerMissing, match=r"memcached is not installed.*apt-get install memcached"):
        Memcached().start()


def test_a_test_is_skipped_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine the test is skipped, and the reason names the cure."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SCALEKIT_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        missing(ServerMissing("it", cure="apt-get install it"))


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("SCALEKIT_REQUIRE_SERVERS", "1")])
def test_a_test_fails_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Continuous integration must not be green because a server is missing."""
    monkeypatch.setenv(name, value)
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        missing(ServerMissing("it", cure="apt-get install it"))
