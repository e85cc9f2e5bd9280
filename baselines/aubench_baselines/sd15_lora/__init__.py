"""Stable Diffusion 1.5 with a LoRA on AU texts: generator and training."""
