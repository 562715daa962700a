"""Weights of models: those that the project has trained, and released ones.

Nothing is downloaded unless `avsep weights get` is run and its terms are accepted.
"""
