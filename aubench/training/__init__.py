"""One resumable loop for all trainers: steps, epochs, checkpoints, ``--set`` options."""
