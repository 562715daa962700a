"""A bad machine for every process of a command; Python imports this file at its start.

`tests/support/strikes.py` puts this folder in front of PYTHONPATH; `AVSEP_BAD_MACHINE` is JSON:
`rename` makes one rename below a folder fail, `slow_s` makes each write to the disk take as long,
`clock_s` puts the clock back by so much between any two looks at it.
"""

import errno
import json
import os
import time

BAD = json.loads(os.environ.get("AVSEP_BAD_MACHINE", "{}"))


def _failing(rename, folder, count, claim):
    """A rename that fails below a folder after some, once in all processes."""
    seen = []

    def bad(source, target, **more):
        if os.fspath(target).startswith(folder):
            seen.append(target)
            if len(seen) > count:
                try:
                    os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(target))
        return rename(source, target, **more)

    return bad


def _slow(call, seconds):
    def slow(*arguments, **more):
        time.sleep(seconds)
        return call(*arguments, **more)

    return slow


def _back(now, seconds):
    looks = []

    def back():
        looks.append(None)
        return now() - seconds * len(looks)

    return back


if "rename" in BAD:
    os.replace = _failing(os.replace, *BAD["rename"])
    os.rename = _failing(os.rename, *BAD["rename"])
if "slow_s" in BAD:
    for name in ("fsync", "replace", "rename", "link"):
        setattr(os, name, _slow(getattr(os, name), BAD["slow_s"]))
if "clock_s" in BAD:
    time.time = _back(time.time, BAD["clock_s"])
