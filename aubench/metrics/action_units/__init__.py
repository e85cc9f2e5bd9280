"""Scores of action units against those that were commanded."""
