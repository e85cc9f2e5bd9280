"""UniPortrait: adapter to its official weights."""
