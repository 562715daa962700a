"""The separators and their parts: `dolphin` and `vovit`; `checkpoint` saves and loads them."""
