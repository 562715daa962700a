"""What the stages themselves cost, apart from media: measured on synthetic rows."""
