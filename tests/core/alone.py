"""``python -m tests.core.alone ALLOWED MODULES...``: import modules where only ``ALLOWED`` is installed.

``ALLOWED`` is a list of top-level names joined by commas, or ``*`` for whatever is there. ``MODULES`` is a
module, or several joined by commas. One JSON line for each says what became of the import, and which modules
it brought.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class NotInstalled:
    """An import hook that hides every third party but ``allowed``."""

    def __init__(self, allowed: set[str]) -> None:
        # coverage, because it measures this very process.
        self._visible = allowed | {"scalekit", "coverage"} | set(sys.stdlib_module_names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in self._visible and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(allowed: str, modules: list[str]) -> None:
    if allowed != "*":
        sys.meta_path.insert(0, NotInstalled(set(allowed.split(","))))
    before = set(sys.modules)
    for names in modules:
        outcome: dict[str, object] = {"module": names}
        for name in names.split(","):
            try:
                importlib.import_module(name)
            except ImportError as error:
                outcome |= {"error": type(error).__name__, "message": str(error), "missing": error.name}
                outcome["extra"] = getattr(error, "extra", None)
        brought = set(sys.modules) - before
        print(json.dumps(outcome | {"brought": sorted(brought)}))
        for module in brought:
            # The next one starts afresh. Libraries stay: not all of them bear a second import.
            if module.partition(".")[0] == "scalekit":
                del sys.modules[module]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
