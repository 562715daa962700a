"""Commands of a project; `avsep` finds them through the entry points `avsep.commands`."""
