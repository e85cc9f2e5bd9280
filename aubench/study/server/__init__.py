"""The pages of a study and what stores their answers."""
