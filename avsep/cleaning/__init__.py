"""Check raw clips: hard rejections with reason codes, cheap scores, duplicates."""
