"""A base for Stable Diffusion's baselines that a test can build in a moment."""

from aubench_baselines.stable_diffusion.shapes import SHAPES, Shape

TINY = Shape(
    size=32,
    vae={
        **SHAPES["nano"].vae,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 16),
        "latent_channels": 4,
        "sample_size": 32,
    },
    unet={
        **SHAPES["nano"].unet,
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "cross_attention_dim": 24,
        "norm_num_groups": 8,
        "attention_head_dim": 2,
    },
    text={
        **SHAPES["nano"].text,
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    },
)
