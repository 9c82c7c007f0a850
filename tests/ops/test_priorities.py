"""Which requests are dear, and what that gets them."""

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Priority, Rule, Shedding


def priority(shedding: Shedding, path: str, method: str = "GET", cookie: bytes = b"") -> Priority:
    return shedding.priority_of({"path": path}, method, path, [(b"cookie", cookie)] if cookie else [])


def test_the_first_rule_that_fits_decides() -> None:
    """Rules are tried in their order; what none fits is normal."""
    shedding = Shedding(
        rules=[
            Rule(path="/shop/checkout", methods=["POST"], priority=Priority.CRITICAL),
            Rule(path="/shop/", priority=Priority.LOW),
        ]
    )
    assert priority(shedding, "/shop/checkout", "POST") is Priority.CRITICAL
    assert priority(shedding, "/shop/checkout/2", "POST") is Priority.CRITICAL
    assert priority(shedding, "/shop/checkout") is Priority.LOW
    assert priority(shedding, "/shop") is Priority.LOW
    assert priority(shedding, "/shops") is Priority.NORMAL
    assert priority(shedding, "/") is Priority.NORMAL


def test_who_has_begun_goes_first() -> None:
    """A rule can ask for a cookie, and so tell visitors with a session from those who just came."""
    shedding = Shedding(rules=[Rule(cookie="__Host-session", priority=Priority.CRITICAL)])
    assert priority(shedding, "/cart", cookie=b"a=1; __Host-session=x") is Priority.CRITICAL
    assert priority(shedding, "/cart", cookie=b"session=x") is Priority.NORMAL
    assert priority(shedding, "/cart") is Priority.NORMAL


def test_a_function_is_asked_before_the_rules() -> None:
    """`classify` decides where it returns a priority, and leaves the rest to the rules."""
    asked = []

    def classify(scope: dict[str, str]) -> Priority | None:
        asked.append(scope["path"])
        return Priority.LOW if scope["path"] == "/feed" else None

    shedding = Shedding(classify=classify, rules=[Rule(priority=Priority.CRITICAL)])
    assert priority(shedding, "/feed") is Priority.LOW
    assert priority(shedding, "/") is Priority.CRITICAL
    assert asked == ["/feed", "/"]


def test_probes_are_exempt_unless_a_rule_says_otherwise() -> None:
    """The probes of OpsMiddleware pass a server that is full."""
    assert priority(Shedding(), "/health/ready") is Priority.EXEMPT
    assert priority(Shedding(), "/healthy") is Priority.NORMAL
    shedding = Shedding(rules=[Rule(path="/health", priority=Priority.LOW)])
    assert priority(shedding, "/health/ready") is Priority.LOW


def test_what_a_priority_gets() -> None:
    """Of a limit of 10: low has 5, normal all of it, critical 15; and nobody has none of the smallest."""
    assert [each.room(10) for each in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL)] == [5, 10, 15]
    assert [each.room(1) for each in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL)] == [1, 1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": "critical"}, "priority= must be such as Priority.CRITICAL"),
        ({"path": "checkout"}, "must begin with a slash"),
        ({"path": b"/"}, "path= must be a path"),
        ({"methods": "POST"}, "methods= must be a list"),
        ({"methods": ["post"]}, "methods= must be names in capitals"),
        ({"cookie": "a b"}, "cookie= must be the name of a cookie"),
    ],
)
def test_a_rule_that_is_none(options: dict[str, object], message: str) -> None:
    """A typical mistake is told at start-up."""
    with pytest.raises(ConfigurationError, match=message):
        Rule(**{"priority": Priority.LOW} | options)  # type: ignore[arg-type]
