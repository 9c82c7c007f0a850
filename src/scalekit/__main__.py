"""``python -m scalekit``: the ``scalekit`` command where no script of that name is on the path."""

import sys

from scalekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
