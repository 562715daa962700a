"""The `avsep` command, one module a group of commands."""

from avsep.cli.app import main

__all__ = ["main"]
