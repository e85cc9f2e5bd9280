"""VQ-AUFace, the reference model: residual VQGAN and masked transformer driven by AU texts."""
