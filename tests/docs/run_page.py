"""``python -m tests.docs.run_page PAGE``: run the Python blocks of a page, in order, in one namespace.

Top-level ``await`` is allowed, as in ``python -m asyncio``; all blocks share one event loop. README.md is
short and takes some names as given, and a ``static`` folder; every other page defines what it uses.
"""

import ast
import asyncio
import builtins
import contextlib
import inspect
import os
import sys
import types
from pathlib import Path

from tests.docs.blocks import python_blocks

GIVEN = {
    "SECRET": "a secret of the tests, long enough",
    "REDIS_URL": os.environ.get("REDIS_URL"),
    "DATABASE_URL": os.environ.get("DATABASE_URL"),
    "REPLICA_URLS": os.environ.get("REPLICA_URLS", "").split(),
    "BUCKET": os.environ.get("S3_BUCKET"),
}


async def main(page: Path) -> None:
    # A module of its own, so that what inspects or imports by name finds the page's names.
    module = types.ModuleType("page")
    # exec() would add it; a function made from code does not, and SQLAlchemy evaluates annotations with it.
    module.__dict__["__builtins__"] = builtins
    sys.modules["page"] = module
    if page.name == "README.md":
        module.__dict__.update(GIVEN)
        Path("static").mkdir()
        Path("static/logo.png").write_bytes(b"logo")
    if any(backend in page.read_text() for backend in ("RedisBackend", "MemcachedBackend")):
        from tests.patience import be_patient  # other pages run without their clients

        be_patient()
    if "scalekit.ops" in page.read_text():
        from scalekit.ops import checks

        checks.PATIENCE = 60.0  # the first probe waits for its checks, however busy the machine is
    with contextlib.ExitStack() as stack:
        if any(mention in page.read_text() for mention in ("REDIS_URL", "MEMCACHED_URL", "DATABASE_URL")):
            from tests.patience import patient_clusters, patient_links

            stack.enter_context(patient_links())
            stack.enter_context(patient_clusters())
        for block in python_blocks(page):
            if block.not_run is None:
                padded = "\n" * block.line + block.code  # tracebacks name the page's own lines
                flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                code = compile(padded, str(page), "exec", flags=flags, dont_inherit=True)
                result = types.FunctionType(code, module.__dict__)()
                if inspect.iscoroutine(result):
                    await result


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
