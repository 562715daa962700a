"""Kernels for GPUs: layers on (B, T, C) sequences in one pass each, without transposed copies."""
