"""Leaderboards: their records, their pages."""
