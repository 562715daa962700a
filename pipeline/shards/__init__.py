"""Shards: finished samples in WebDataset tars, with a manifest and an index beside them.

The format is described in docs/shards.md well enough to be read with `tarfile` alone.
"""
