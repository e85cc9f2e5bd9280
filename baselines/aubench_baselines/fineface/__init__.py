"""FineFace: adapter to its official weights."""
