"""`python -m kiso` is the command `kiso`."""

import sys

from kiso.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
