"""Tensors of a file into a network, strictly: nothing missing, left over or of another shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from aubench.errors import AubenchError


def fill_strictly(
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    where: str,
    remedy: str,
    other_shape: str = "",
) -> None:
    """Copy tensors in place.

    Args:
        wanted: The network's own parameters and buffers by name.
        state: Those of the file.
        where: Named in errors.
        remedy: Remedy named where names differ.
        other_shape: Remedy named where a shape differs; ``remedy`` if left out.

    Raises:
        AubenchError: Names the first tensor that is missing, left over or of another shape.
    """
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or extra:
        what = f"lacks tensor {missing[0]}" if missing else f"holds an unknown tensor {extra[0]}"
        raise AubenchError(f"{where} {what}", remedy)
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            raise AubenchError(
                f"{where}: {key} is {tuple(state[key].shape)}, not {tuple(value.shape)}",
                other_shape or remedy,
            )
        with torch.no_grad():
            value.copy_(state[key])
