"""Readers of BP4D, DISFA and of folders with a CSV."""
