"""Training of AU detectors in the two stages of ME-GraphAU."""
