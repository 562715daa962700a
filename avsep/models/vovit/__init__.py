"""VoViT: separation by facial landmarks, after Montesinos et al., ECCV 2022 (docs/models.md)."""
