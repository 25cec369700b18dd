"""`python -m jaxrender` is the same as the `jaxrender` command."""

import sys

from jaxrender.cli import main

if __name__ == "__main__":
    sys.exit(main())
