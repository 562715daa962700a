"""The landmark networks in PyTorch, in large batches, in one process per device."""
