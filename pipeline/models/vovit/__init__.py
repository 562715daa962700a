"""The VoViT family: separation by landmarks of the face, after Montesinos et al., ECCV 2022."""

from pipeline.models.vovit.config import VoViTConfig
from pipeline.models.vovit.model import Clips, VoViT
from pipeline.models.vovit.network import Details
from pipeline.models.vovit.official import load_official
from pipeline.models.vovit.registration import mean_face

__all__ = ["Clips", "Details", "VoViT", "VoViTConfig", "load_official", "mean_face"]
