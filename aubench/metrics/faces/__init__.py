"""Scores of pairs of faces: perceptual and pixel distance, change, identity, legibility."""
