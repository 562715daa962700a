"""Overrides in `params.yaml` that make models which train in seconds."""

LIP = {"shrink": 8, "layers": ["compress_space"], "first_channels": 2, "first_kernel": [3, 3, 3]}
DOLPHIN = {
    "lip": LIP, "audio_channels": 128, "kernel": 64, "stride": 32, "channels": 8, "stages": 2,
    "heads": 2, "local_kernel": 5, "video_channels": 4,
}  # fmt: skip
VOVIT = {
    "graph": {"channels": [4]},
    "audio_encoder": {"channels": 2, "out_channels": 1, "convs": [[1, 7, 1, 1]]},
    "fusion": {"width": 16, "heads": 2, "feedforward": 16, "temporal_layers": 1,
               "spectral_layers": 1, "decoder_layers": 1, "mask_hidden": 16},
    "enhancer": {"channels": [2, 4]},
}  # fmt: skip
