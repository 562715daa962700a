"""What the full-size models cost on the machine at hand; `python -m avsep.bench.models`.

Needs PyTorch and einops alone, so that it runs on a bare GPU machine too.
"""
