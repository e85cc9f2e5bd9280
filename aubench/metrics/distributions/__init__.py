"""Distances and scores of sets of images."""
