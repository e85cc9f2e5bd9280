"""Figures of scores and of faces."""
