"""From a posed head to pixels: rasteriser, shading, light, camera, scene."""
