"""Resampling by subject, and scores of groups of subjects."""
