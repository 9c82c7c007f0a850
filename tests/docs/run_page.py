"""``python -m tests.docs.run_page PAGE``: run the Python blocks of a page, in order, in one namespace.

Top-level ``await`` is allowed, as in ``python -m asyncio``; all blocks share one event loop.
"""

import ast
import asyncio
import inspect
import sys
import types
from pathlib import Path

from tests.docs.blocks import python_blocks


async def main(page: Path) -> None:
    # A module of its own, so that what inspects or imports by name finds the page's names.
    module = types.ModuleType("page")
    sys.modules["page"] = module
    for block in python_blocks(page):
        if block.not_run is None:
            padded = "\n" * block.line + block.code  # tracebacks name the page's own lines
            code = compile(padded, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            result = types.FunctionType(code, module.__dict__)()
            if inspect.iscoroutine(result):
                await result


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
