"""What generators on Stable Diffusion share: base, adapters, text, sampling."""
