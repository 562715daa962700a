"""Weights for a first try: those a project has trained, and released ones fetched on request.

Nothing here is fetched unless `avsep weights get` is run and its terms are agreed to.
"""
