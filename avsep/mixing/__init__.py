"""Mixtures as recipes: voices, protocols that draw recipes, lists of them, and rendering."""
