"""Benchmarks: how fast extraction and the models are on this machine."""
