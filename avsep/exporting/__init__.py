"""Exporters: shards and mixtures as the files that other projects read.

Each module writes one form, named after who reads it, and says in its docstring what the reader
expects. Nothing is converted that need not be: sound stays 16 kHz int16, mouths 96x96 grey.
"""
