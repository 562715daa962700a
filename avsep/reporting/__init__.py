"""The results for people: a self-contained HTML page, and a table for the terminal."""
