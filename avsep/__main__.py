"""`python -m avsep` is the command `avsep`."""

from avsep.cli import main

main()
