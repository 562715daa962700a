"""Dolphin: time-domain audio-visual separation with a discrete lip encoder (docs/models.md)."""
