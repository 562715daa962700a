"""Find faces, track them, describe them by 68 landmarks, and crop their mouths."""
