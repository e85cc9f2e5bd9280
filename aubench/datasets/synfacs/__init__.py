"""The data set synfacs: its draws, and its images, rendered on demand."""
