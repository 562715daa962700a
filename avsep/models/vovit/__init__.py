"""The VoViT family: separation by landmarks of the face, after Montesinos et al., ECCV 2022."""

from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import Clips, VoViT
from avsep.models.vovit.network import Details
from avsep.models.vovit.registration import mean_face
from avsep.models.vovit.state_dict_adapter import load_official

__all__ = ["Clips", "Details", "VoViT", "VoViTConfig", "load_official", "mean_face"]
