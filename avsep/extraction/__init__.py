"""From one clip to its samples: faces, mouths and sound, with their provenance."""
