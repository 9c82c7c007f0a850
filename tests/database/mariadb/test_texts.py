"""How texts for MariaDB and MySQL are judged. No server needed."""

import pytest

from scalekit.database.sqltext.mysql import RULES, words


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT 5--3 FROM item FOR UPDATE", False),  # two minuses; a comment needs a space behind them
        ("SELECT 5 -- 3 FROM item FOR UPDATE", True),
        ("SELECT 1 --\n", True),
        ("SELECT 1 --", True),
        ("SELECT 1 # FOR UPDATE", True),
        ("SELECT 1 # x\nFOR UPDATE", False),
        ("SELECT 1 /* FOR UPDATE */", True),
        ("SELECT 1 /* /* */ FOR UPDATE", False),  # comments do not nest
        ("SELECT 1 /* FOR UPDATE", False),
        ("SELECT 1 /*! FOR UPDATE */", False),
        ("SELECT 1 /*M! FOR UPDATE */", False),
        ("SELECT 1 /*!50000 + 1 */", False),
        ("SELECT /*+ MAX_EXECUTION_TIME(10) */ 1", True),
        ("SELECT `insert`, `for`.`update` FROM `into`", True),
        ("SELECT `a``b` FROM item", True),
        ("SELECT `a FROM item", False),
        ("SELECT `get_lock`('a', 0)", False),
        ('SELECT "get_lock"(1)', False),  # with ANSI_QUOTES a name
        ('SELECT "for update" FROM item', True),
        ("SELECT 'it''s', x'41', b'1', _utf8mb4'a', N'a'", True),
        (r"SELECT 'a\' FOR UPDATE -- '", False),  # what the backslash means depends on sql_mode
        ("SELECT 'open", False),
        ("SELECT @a", True),
        ("SELECT @a:=1", False),
        ("SELECT @@version", True),
        ("SELECT 1 INTO @a", False),
        ("SELECT 1 INTO OUTFILE '/tmp/a'", False),
        ("SELECT * FROM item LOCK IN SHARE MODE", False),
        ("SELECT NEXT VALUE FOR numbers", False),
        ("SELECT 1; DELETE FROM item", False),
        ("SELECT 1;", True),
        ("TABLE item", True),
        ("WITH a AS (SELECT 1) DELETE FROM item", False),
        ("SELECT Get_Lock ('a', 0)", False),
        ("SELECT größe, $a FROM item", True),
        ("HANDLER item OPEN", False),
    ],
)
def test_texts(sql: str, read: bool) -> None:
    """10. A text is a read when it is surely one."""
    assert RULES.is_read(sql) is read


def test_words() -> None:
    """Literals are left out; a quoted name cannot be taken for a keyword."""
    assert words("SELECT `Update`, 'x' /* y */ FROM T") == ["select", '"update', ",", "from", "t"]
