"""Networks of VQ-AUFace: codec, transformer, encoders of conditions."""
