"""A local page to look at the samples of runs: faces, readings, points, one beside another."""
