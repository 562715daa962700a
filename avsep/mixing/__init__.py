"""Mixtures as recipes: speech level, voices, protocols that draw recipes, and their rendering."""
