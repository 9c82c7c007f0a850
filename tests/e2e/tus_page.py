"""The application that docs/howto/storage-resumable.md builds, with the client of npm in its folder.

WHERE=/tmp/somewhere TUS=.../tus.min.js uvicorn tests.e2e.tus_page:app
"""

import os
import shutil
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT, python_blocks

os.chdir(os.environ["WHERE"])
page: dict[str, Any] = {}
for block in python_blocks(ROOT / "docs/howto/storage-resumable.md"):
    if "FastAPI()" in block.code or "PAGE" in block.code:
        exec(block.code, page)
app = page["app"]
shutil.copy(os.environ["TUS"], Path("static"))
