"""The names and settings that different programs give the same weights."""
