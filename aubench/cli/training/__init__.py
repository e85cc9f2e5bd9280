"""Commands that train, ablate and assess networks and generators."""
