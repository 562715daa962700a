"""avsep: from raw talking-face video to trained, evaluated audio-visual speech separators.

This is the library: the work itself, as plain functions and classes. It knows neither Prefect
nor DVC (`flows/` and `dvc.yaml` call it), and each part imports only what that part needs, so
that models and training run on a machine with PyTorch alone.
"""

__version__ = "0.1.0"
