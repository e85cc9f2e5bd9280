"""Data sets that the user imported: their files, folds and texts."""
