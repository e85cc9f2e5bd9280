"""Files, run folders and their locks."""
