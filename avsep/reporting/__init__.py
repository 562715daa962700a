"""The report: one self-contained page, and the table for the terminal."""
