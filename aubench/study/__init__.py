"""AUCHS: the user study, from images to a table with intervals."""
