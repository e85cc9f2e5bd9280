"""Simulated studies and raters."""
