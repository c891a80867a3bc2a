"""python -m mxallowd: the same as the command mxallowd."""
import sys

from mxallowd.cli import main

if __name__ == "__main__":
    sys.exit(main())
