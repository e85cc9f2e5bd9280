"""Analysis of a study: exclusion, scores, intervals, agreement, export."""
