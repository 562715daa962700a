"""The VoViT family: separation by landmarks of the face, after Montesinos et al., ECCV 2022."""
