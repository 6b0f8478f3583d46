"""`python -m understudy`, which is how torchrun starts the command line: `torchrun -m understudy train ...`."""

import sys

from understudy.cli import main

if __name__ == "__main__":
    sys.exit(main())
