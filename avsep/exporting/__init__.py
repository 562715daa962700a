"""Exporters: shards and mixtures as the files that other projects read.

Each module writes one format. It is named after the project that reads it, and its docstring says
what this project expects. Nothing is converted without need: sound stays 16 kHz int16, mouths stay
96x96 grey.
"""
