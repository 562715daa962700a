"""The `avsep` command, one module per command or group of commands."""

from avsep.cli.entry import main

__all__ = ["main"]
