"""Where raw clips come from: the demo corpus, a folder of videos, or a published corpus."""
