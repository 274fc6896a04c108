"""`python -m lipread ...` is the `lipread` command."""

from __future__ import annotations

import sys

from lipread.cli import main

if __name__ == "__main__":
    sys.exit(main())
