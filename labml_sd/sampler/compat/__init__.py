"""Runs as other tools make them: their noise levels, first noise and meaning of strength."""
