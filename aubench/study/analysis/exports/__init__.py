"""Files of an analysis that others can open."""
