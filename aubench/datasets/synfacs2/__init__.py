"""The data set synfacs 2: its draws in two conditions, and its images, rendered on demand."""
