"""The error tree is what its docstring draws."""

import builtins
import inspect
import re

from scalekit import errors

LINE = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?: \((?P<also>\w+)\))?(?:\s{2,}\S.*)?$")


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Each class in the docstring: its parent and the built-in error that it also is."""
    assert errors.__doc__
    picture = errors.__doc__.split("::\n\n")[1].split("\n\n")[0]
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in inspect.cleandoc(picture).splitlines():
        match = LINE.match(line)
        assert match, f"not understood: {line!r}"
        depth = len(match["indent"]) // 4
        path[depth:] = [match["name"]]
        tree[match["name"]] = (path[depth - 1] if depth else None, match["also"])
    return tree


def real() -> dict[str, tuple[str | None, str | None]]:
    tree = {}
    for name, item in vars(errors).items():
        if inspect.isclass(item) and issubclass(item, errors.ScalekitError):
            ours = [base.__name__ for base in item.__bases__ if issubclass(base, errors.ScalekitError)]
            also = [base.__name__ for base in item.__bases__ if vars(builtins).get(base.__name__) is base]
            root = item is errors.ScalekitError
            tree[name] = (ours[0] if ours else None, None if root or not also else also[0])
    return tree


def test_the_tree_is_the_one_drawn() -> None:
    """Every class stands in the docstring, beneath its parent, with the built-in error it also is."""
    assert real() == drawn()


def test_every_error_is_explained() -> None:
    """Each class has a docstring of its own."""
    for name in real():
        assert vars(errors)[name].__dict__["__doc__"], name


def test_facts_and_cures() -> None:
    """Errors carry their facts as attributes and name the cure in the message."""
    extra = errors.MissingExtra("redis", needed_by="scalekit.sessions.redis")
    assert (extra.extra, str(extra)) == (
        "redis",
        "scalekit.sessions.redis needs an extra: pip install 'scalekit[redis]', or from beside a checkout "
        "'./scalekit[redis]'",
    )
    assert isinstance(extra, ImportError)
    colour = errors.WrongColour(found="sync", wanted="async", what="RedisStore")
    assert str(colour) == "RedisStore wants an asynchronous client, but was given a synchronous one"
    cured = errors.WrongColour(found="async", wanted="sync", what="f", kind="function", cure="use def")
    assert str(cured) == "f wants a synchronous function, but was given an asynchronous one; use def"
    assert (cured.found, cured.wanted, cured.kind, cured.cure) == ("async", "sync", "function", "use def")
    large = errors.FileTooLarge(limit=10, received=11)
    assert (large.status, large.limit, large.received) == (413, 10, 11)
