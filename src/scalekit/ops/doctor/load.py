"""Loading the application that is to be looked at, as servers do."""

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from scalekit.errors import ConfigurationError
from scalekit.ops.doctor.findings import masked
from scalekit.ops.doctor.walk import is_own_code


class Loaded(NamedTuple):
    """An object and the module that it was found in; ``name`` is how it was asked for."""

    name: str
    thing: Any
    module: ModuleType


def load(target: str, *, factory: bool = False, folder: Path | None = None) -> Loaded:
    """What ``target`` names.

    Args:
        target: ``module:app``, ``package.module:shop.app`` or ``path/file.py:app``.
        factory: whether it is a function that returns the application.
        folder: modules are looked for in it first; by default the current one.

    Raises:
        ConfigurationError: it is no name, there is nothing of that name, its module cannot be imported, or it
            is no factory. What the application's own code raises is its cause, and told with where it did.
    """
    where, colon, attribute = target.rpartition(":")
    if not colon or not where or not attribute:
        raise ConfigurationError(f"{target!r:.200} names nothing; write it as module:app, or app.py:app")
    folder = (folder or Path.cwd()).absolute()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _file(folder / where) if where.endswith(".py") else _module(where)
    thing: Any = module
    for name in attribute.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            raise ConfigurationError(f"{where} has no {attribute!r:.100}") from None
    return Loaded(target, _made(thing, target) if factory else thing, module)


def takes(thing: Any, count: int) -> bool | None:
    """Whether ``thing`` can be called with ``count`` arguments; ``None`` if nobody knows."""
    try:
        # Not of what it wraps: the arguments go to the wrapper.
        signature = inspect.signature(thing, follow_wrapped=False)
    except (TypeError, ValueError):  # written in C, perhaps
        return None
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def kind(thing: Any) -> str:
    """What ``thing`` is, for people: ``a list``, ``an int``."""
    name = type(thing).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _made(factory: Any, target: str) -> Any:
    """What a factory returns."""
    if not callable(factory):
        raise ConfigurationError(
            f"{target} is no factory but {kind(factory)}; leave --factory out if it is what is meant"
        )
    if takes(factory, 0) is False:
        cure = (
            "it may be the application itself: leave --factory out"
            if takes(factory, 2) or takes(factory, 3)
            else "name a function without arguments that calls it"
        )
        raise ConfigurationError(f"{target} cannot be called without arguments, as factories are; {cure}")
    made = _run(factory, f"the factory {target} failed")
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigurationError(
            f"{target} is asynchronous, and nobody awaits a factory; name a plain function, or with the "
            "application leave --factory out"
        )
    if made is None:
        raise ConfigurationError(f"the factory {target} returned None; is there a return missing?")
    return made


def _module(name: str) -> ModuleType:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # of the package that it is in
        found = None
    if found is None and name not in sys.modules:
        raise ConfigurationError(f"there is no module {name!r:.200} here; is this the application's folder?")
    module: ModuleType = _run(lambda: importlib.import_module(name), f"{name} cannot be loaded")
    return module


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"there is no file {str(path)!r}")
    name = path.stem
    if (package := _package_of(path)) is not None:
        sys.path.insert(0, str(package))
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        return _module(name)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module, execute = importlib.util.module_from_spec(spec), spec.loader.exec_module
    sys.modules[name] = module
    _run(lambda: execute(module), f"{os.path.relpath(path)} cannot be loaded")
    return module


def _package_of(path: Path) -> Path | None:
    """The folder that the outermost package of a file is in; ``None`` if it is in none."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return None if folder == path.parent else folder


def _run(call: Any, failed: str) -> Any:
    try:
        return call()
    # Whatever the application's own code raises, it is no fault of the doctor.
    except (Exception, SystemExit) as error:
        reason = masked(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"{failed}: {reason:.500}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Where the application's own code was last when it was raised; nothing if it was nowhere."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if is_own_code(one.filename)]
    if not frames:
        return ""
    last = frames[-1]
    return f" (in {os.path.relpath(last.filename)}, line {last.lineno})"
