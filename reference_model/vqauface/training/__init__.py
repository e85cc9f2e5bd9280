"""Training of VQ-AUFace: data, losses, stages, ablations."""
