"""The browser that looks at pages, and why there is none."""

import importlib.util
import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PROBLEM = (
    "no Chromium here: apt-get install chromium"
    if CHROMIUM is None
    else "no playwright here: pip install 'avsep[browser]'"
    if importlib.util.find_spec("playwright") is None
    else ""
)
