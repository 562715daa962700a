"""Training of every model of the project: losses, tasks, precision, checkpoints, logs.

The only package that knows of ranks. It imports without Prefect, DVC and the media libraries, so
that a bare machine with PyTorch can train from `plain` shards.
"""
