"""`python -m manyparts`, which is how torchrun starts the command line: `torchrun -m manyparts
train ...`."""

import sys

from manyparts.cli import main

if __name__ == "__main__":
    sys.exit(main())
