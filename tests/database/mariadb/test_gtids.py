"""Global transaction ids of MariaDB and MySQL, without a server."""

from typing import Any

import pytest
from sqlalchemy import make_url

from scalekit.database.backends import backend_for, gtids
from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.backends.mysql import MySQL
from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token, TokenSigner

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "5a2b0c4e-71ca-11e1-9e33-c80aa9429562"


def mariadb(read_only: object, applied: str, logged: str, *, threads: int = 0) -> Report:
    return MariaDB().report((read_only, applied, logged, str(threads), "1 host 3306 17"), asked=1.0)


def mysql(read_only: int, executed: str) -> Report:
    return MySQL().report((read_only, executed, "uuid 17"), asked=1.0)


def token(text: str, backend: Backend) -> Token:
    return backend.token(text, last=mariadb(0, "", ""))


def test_a_gtid_of_another_server_is_never_a_yes() -> None:
    """20. After a failover the same number comes from another server: 0-1-8 was lost, 0-2-8 is not it."""
    replica = mariadb(1, "0-2-9", "0-1-7,0-2-9")
    assert replica.reached.covers(token("0-1-7", MariaDB()))
    assert replica.reached.covers(token("0-2-8", MariaDB()))
    assert not replica.reached.covers(token("0-1-8", MariaDB()))
    assert not replica.reached.covers(token("0-3-5", MariaDB()))
    assert not replica.reached.covers(token("1-2-5", MariaDB()))
    assert not mysql(1, f"{A}:1-9").reached.covers(token(f"{B}:1-8", MySQL()))


def test_a_replica_shows_what_it_has_applied() -> None:
    """1. Its binary log, which is written before the change is visible, does not count."""
    replica = mariadb(1, "0-1-7", "0-1-8")
    assert replica.reached.marks == {"0:1": 7}
    # Written here alone, or not yet shown by a server that was the primary once: after 7, so not counted.
    assert mariadb(1, "0-1-7", "0-1-8,0-2-9").reached.marks == {"0:1": 7}
    assert mariadb(1, "0-1-7,4-1-3", "0-1-7,0-2-5,4-1-3").reached.marks == {"0:1": 7, "0:2": 5, "4:1": 3}


def test_who_is_writable() -> None:
    """A server that replicates is none, even where somebody forgot its read_only."""
    assert mariadb(0, "", "0-1-7").writable
    assert mariadb("OFF", "", "0-1-7").writable
    assert not mariadb(1, "0-1-7", "").writable
    assert not mariadb("NO_LOCK", "0-1-7", "").writable
    assert not mariadb(0, "0-1-7", "0-1-7", threads=1).writable
    assert mysql(0, f"{A}:1-7").writable
    assert not mysql(1, f"{A}:1-7").writable


@pytest.mark.parametrize("last", [mariadb(0, "", "0-1-7"), mariadb(1, "0-1-7", "0-1-7")])
def test_the_short_question(last: Report) -> None:
    """It tells what is there now; the role is the one known, unless the server became read-only since."""
    now = MariaDB().inline_report((0, "0-1-9", "0-1-9"), asked=2.0, last=last)
    assert (now.writable, now.reached.marks, now.asked) == (last.writable, {"0:1": 9}, 2.0)
    assert not MariaDB().inline_report((1, "0-1-9", "0-1-9"), asked=2.0, last=last).writable
    assert now.server == last.server


def test_what_a_primary_has_written() -> None:
    """The newest of each domain; what older primaries wrote comes before it and needs no mark of its own."""
    primary = mariadb(0, "0-1-7", "0-1-7,0-2-9,3-1-4")
    assert primary.written == token("0-2-9,3-1-4", MariaDB())
    assert primary.flushed == primary.written
    assert primary.shown == "0-2-9,3-1-4"
    assert mysql(0, f"{A}:1-9,\n{B}:1-3").written == token(f"{A}:1-9,{B}:1-3", MySQL())


@pytest.mark.parametrize(
    ("text", "complete", "last"),
    [
        ("", {}, {}),
        (f"{A}:1-57", {f":{A}": 57}, {f":{A}": 57}),
        (f"{A}:1", {f":{A}": 1}, {f":{A}": 1}),
        (f"{A.upper()}:1-57:60,\n{B}:1-3", {f":{A}": 57, f":{B}": 3}, {f":{A}": 60, f":{B}": 3}),
        (f"{A}:5-9", {}, {f":{A}": 9}),
        (f"{A}:1-5:tag:1-3:9", {f":{A}": 5, f":{A}:tag": 3}, {f":{A}": 5, f":{A}:tag": 9}),
    ],
)
def test_mysql_gtid_sets(text: str, complete: dict[str, int], last: dict[str, int]) -> None:
    """1. A replica has what lies before the first gap; a commit may be behind one that others leave open."""
    assert gtids.mysql_marks(text, gaps=False) == complete
    assert gtids.mysql_marks(text, gaps=True) == last


def test_a_commit_behind_a_gap_is_waited_for() -> None:
    """1. 58 and 59 were still committing when 60 was; who has 57 does not have it."""
    committed = token(f"{A}:1-57:60", MySQL())
    assert not mysql(1, f"{A}:1-57").reached.covers(committed)
    assert not mysql(1, f"{A}:1-58:60").reached.covers(committed)
    assert mysql(1, f"{A}:1-60").reached.covers(committed)


def test_without_gtid_mode_nobody_is_known_to_have_anything() -> None:
    """MySQL with gtid_mode=OFF answers an empty set, after a commit too: those who wrote read the primary."""
    assert not token("", MySQL()).is_known
    assert not mysql(1, "").reached.covers(token("", MySQL()))


def test_tokens_survive_failovers_without_growing() -> None:
    """A commit on the new primary comes after what is in its history; what is not was lost. Other domains
    are another line."""
    old = token("0-1-10,7-1-3", MariaDB())
    new = old.followed_by(token("0-2-9", MariaDB()))
    assert new.marks == (("0:2", 9), ("7:1", 3))
    assert old.merge(token("0-2-9", MariaDB())).marks == (("0:1", 10), ("0:2", 9), ("7:1", 3))
    assert token(f"{A}:1-10", MySQL()).followed_by(token(f"{B}:1-2", MySQL())).marks == ((f":{B}", 2),)


def test_a_token_fits_into_a_cookie() -> None:
    """Eight servers' marks do; of more nobody is known to have all, which means the primary."""
    signer = TokenSigner("a secret that all servers share")
    uuids = [f"{number:08x}{A[8:]}" for number in range(9)]
    eight = token(",".join(f"{uuid}:1-9999999999999999" for uuid in uuids[:8]), MySQL())
    assert signer.loads(signer.dumps(eight)) == eight
    assert not token(",".join(f"{uuid}:1-9" for uuid in uuids), MySQL()).is_known


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (1290, Trouble.WRITE_REFUSED),
        (1792, Trouble.WRITE_REFUSED),
        (1836, Trouble.WRITE_REFUSED),
        (1213, Trouble.CONFLICT),
        (1205, Trouble.CONFLICT),
        (1053, Trouble.GONE),
        (1927, Trouble.GONE),
        (2006, Trouble.GONE),
        (2013, Trouble.GONE),
        (1045, Trouble.LOGIN),
        (1062, Trouble.SERVER_SAID_NO),
        (3024, Trouble.SERVER_SAID_NO),
        (1180, Trouble.OTHER),
        (0, Trouble.OTHER),
        (None, Trouble.OTHER),
    ],
)
def test_error_codes(code: int | None, meaning: Trouble) -> None:
    """What an error number means for the transaction; the client's own leave a COMMIT open."""
    assert MariaDB().trouble(code) is MySQL().trouble(code) is meaning


def test_the_url_says_what_kind_of_server_it_is() -> None:
    """mariadb:// and mysql:// are two kinds; SQLite has no replicas."""
    kinds: dict[str, Any] = {"mariadb+pymysql": MariaDB, "mysql+asyncmy": MySQL, "sqlite": type(None)}
    for scheme, kind in kinds.items():
        assert type(backend_for(make_url(f"{scheme}://host/shop"))) is kind


def test_reached_is_per_system() -> None:
    """A token of PostgreSQL says nothing about MariaDB."""
    assert not Reached("pg:1", {"0:1": 9}).covers(token("0-1-1", MariaDB()))
