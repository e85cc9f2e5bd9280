"""MagicFace: adapter to its official weights."""
