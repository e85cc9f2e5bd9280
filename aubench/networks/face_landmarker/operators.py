"""TFLite's operators in torch, and a network that runs a list of them.

Tensors keep TFLite's order, batch, height, width, channels. Seen through ``permute`` they are
torch's channels-last tensors, so that nothing is copied for a convolution. The first axis is the
batch, of any size, though the file says one; no operator of these networks mixes its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aubench.networks.face_landmarker.flatbuffer import Array, Graph, NotTFLite, Operator

SAME = 0
Step = Callable[[Sequence[Tensor]], Tensor]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return how many zeros TFLite's SAME puts before and after an axis; the odd one goes last."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _axes_padding(
    x: Tensor, kernel: tuple[int, int], options: dict[str, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    if options["padding"] != SAME:
        return (0, 0), (0, 0)
    vertical = same_padding(
        x.shape[1], kernel[0], options["stride_y"], options.get("dilation_y", 1)
    )
    horizontal = same_padding(
        x.shape[2], kernel[1], options["stride_x"], options.get("dilation_x", 1)
    )
    return vertical, horizontal


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, options: dict[str, int], groups: int = 1
) -> Tensor:
    """Return a convolution of [B, H, W, C] with [O, I, kh, kw], as [B, H', W', O]."""
    rows, columns = _axes_padding(x, (weight.shape[2], weight.shape[3]), options)
    padding = (rows[0], columns[0])
    if rows[0] != rows[1] or columns[0] != columns[1]:
        x, padding = functional.pad(x, (0, 0, *columns, *rows)), (0, 0)
    out = functional.conv2d(
        x.permute(0, 3, 1, 2),
        weight,
        bias,
        (options["stride_y"], options["stride_x"]),
        padding,
        (options["dilation_y"], options["dilation_x"]),
        groups,
    )
    return out.permute(0, 2, 3, 1)


def maximum_pool(x: Tensor, options: dict[str, int]) -> Tensor:
    """Return the maxima of windows of [B, H, W, C]; what lies outside never wins."""
    kernel = (options["height"], options["width"])
    rows, columns = _axes_padding(x, kernel, options)
    if any((*rows, *columns)):
        x = functional.pad(x, (0, 0, *columns, *rows), value=-torch.inf)
    stride = (options["stride_y"], options["stride_x"])
    return functional.max_pool2d(x.permute(0, 3, 1, 2), kernel, stride).permute(0, 2, 3, 1)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a convolution of single pixels, [B, H, W, C] with [C, O], as [B, H, W, O].

    A product: torch has several kernels for these and chooses by batch and threads.

    Args:
        x: float32.
        weight: float32.
        bias: float32 [W * O], once a pixel of a line; torch is slow in loops over few channels.
    """
    batch, high, wide, channels = x.shape
    out = x.reshape(-1, channels) @ weight
    return out.view(batch * high, -1).add_(bias).view(batch, high, wide, -1)


def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """PReLU of [B, H, W, C], its slope [W * C] once a pixel of a line."""
    lines = x.reshape(x.shape[0] * x.shape[1], -1)
    return functional.prelu(lines, alpha).view(x.shape)


def _concatenate(parts: Sequence[Tensor], axis: int) -> Tensor:
    batch = max(len(part) for part in parts)  # a constant has one row for all
    return torch.cat([part.expand(batch, *part.shape[1:]) for part in parts], axis)


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": torch.sigmoid,
    "neg": torch.neg,
    "relu": torch.relu,
    "rsqrt": torch.rsqrt,
    "sqrt": torch.sqrt,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "div": torch.div,
    "mul": torch.mul,
    "sub": torch.sub,
    "squared_difference": lambda a, b: (a - b) ** 2,
}


def _floats(values: Array) -> Tensor:
    """Return float32 in torch's own memory."""
    # It is aligned; numpy's differs from run to run, and products with it in their last bit.
    return torch.from_numpy(np.array(values, np.float32)).clone()


class Network(nn.Module):
    """A TFLite graph of one input, in float32.

    Args:
        graph: as read from the file; weights in float16 become float32 here.

    Raises:
        NotTFLite: the graph asks for something that is not known here.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.constants: dict[int, Array] = {
            i: row.data for i, row in enumerate(graph.tensors) if row.data is not None
        }
        self.plan: list[tuple[Step, tuple[int, ...], int]] = []
        for operator in graph.operators:
            if operator.name == "dequantize" and operator.inputs[0] in self.constants:
                values = self.constants[operator.inputs[0]]
                self.constants[operator.outputs[0]] = values.astype(np.float32)
                continue
            step, used = self._step(operator)
            self.plan.append((step, used, operator.outputs[0]))
        self.last: list[list[int]] = self._last_uses()

    def _last_uses(self) -> list[list[int]]:
        """Return for each step the tensors that none reads after it, to be let go."""
        last = {i: n for n, (_, used, _) in enumerate(self.plan) for i in used}
        kept = {*self.graph.outputs, *self.constants}
        return [
            [i for i, n in last.items() if n == step and i not in kept]
            for step in range(len(self.plan))
        ]

    def _buffer(self, name: str, value: Tensor) -> str:
        self.register_buffer(name, value)
        return name

    def _constant(self, number: int) -> list[int]:
        """Return a small constant, as of axes or shapes."""
        if number not in self.constants:
            raise NotTFLite(f"tensor {number} is not constant")
        return [int(value) for value in np.atleast_1d(self.constants[number]).ravel()]

    def _step(self, operator: Operator) -> tuple[Step, tuple[int, ...]]:
        """Return what an operator does and the numbers of the tensors that it is given."""
        name, inputs, options = operator.name, operator.inputs, operator.options
        if name in ("conv_2d", "depthwise_conv_2d"):
            return self._convolution(operator), inputs[:1]
        if name == "max_pool_2d":
            return (lambda x: maximum_pool(x[0], options)), inputs
        if name in UNARY:
            return (lambda x: UNARY[name](x[0])), inputs
        if name in BINARY or name in ("prelu", "concatenation"):
            return self._of_several(operator), inputs
        return self._of_shape(operator), inputs[:1]

    def _convolution(self, operator: Operator) -> Step:
        number, options = operator.outputs[0], operator.options
        values = _floats(self.constants[operator.inputs[1]])
        depthwise = operator.name == "depthwise_conv_2d"
        if depthwise and options["multiplier"] != 1:
            raise NotTFLite("a depthwise convolution with more outputs than inputs")
        bias, active = _floats(self.constants[operator.inputs[2]]), options["activation"] == 1
        single = values.shape[1:3] == (1, 1) and options["stride_x"] == options["stride_y"] == 1
        if single and not depthwise:
            weight = values.flatten(1).t().contiguous()
            bias = bias.repeat(self.graph.tensors[number].shape[2])
        else:
            order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
            weight = values.permute(order).contiguous(memory_format=torch.channels_last)
        at = self._buffer(f"weight_{number}", weight), self._buffer(f"bias_{number}", bias)
        groups = len(weight) if depthwise else 1

        def step(x: Sequence[Tensor]) -> Tensor:
            kernel, shift = getattr(self, at[0]), getattr(self, at[1])
            if kernel.dim() == 2:
                out = pointwise(x[0], kernel, shift)
            else:
                out = convolution(x[0], kernel, shift, options, groups)
            return out.relu_() if active else out

        return step

    def _of_several(self, operator: Operator) -> Step:
        """Operators of tensors and constants."""
        names: list[str | None] = []
        for place, number in enumerate(operator.inputs):
            name = None
            if number in self.constants:
                value = _floats(self.constants[number])
                if operator.name == "prelu":
                    value = value.flatten().repeat(self.graph.tensors[operator.inputs[0]].shape[2])
                name = self._buffer(f"constant_{operator.outputs[0]}_{place}", value)
            names.append(name)
        if operator.options.get("activation", 0):
            raise NotTFLite(f"{operator.name} with an activation")

        def given(x: Sequence[Tensor]) -> list[Tensor]:
            return [v if n is None else getattr(self, n) for n, v in zip(names, x, strict=True)]

        if operator.name == "concatenation":
            axis = operator.options["axis"]
            return lambda x: _concatenate(given(x), axis)
        function = _prelu if operator.name == "prelu" else BINARY[operator.name]
        return lambda x: function(*given(x))

    def _of_shape(self, operator: Operator) -> Step:
        """Operators that are told axes or shapes; the batch stays as it is."""
        name, options = operator.name, operator.options
        if name == "reshape":
            shape = self.graph.tensors[operator.outputs[0]].shape[1:]
            return lambda x: x[0].reshape(len(x[0]), *shape)
        if name == "strided_slice":
            return self._slice(operator)
        arguments = self._constant(operator.inputs[1])
        if name == "pad":
            ends = np.reshape(arguments, (-1, 2))[::-1].ravel().tolist()
            return lambda x: functional.pad(x[0], ends)
        if name == "transpose" and arguments[0] == 0:
            return lambda x: x[0].permute(arguments)
        if name in ("mean", "sum") and 0 not in arguments:
            keep = bool(options["keep"])
            function = torch.mean if name == "mean" else torch.sum
            return lambda x: function(x[0], arguments, keepdim=keep)
        raise NotTFLite(f"{name} across the batch")

    def _slice(self, operator: Operator) -> Step:
        begin, end, stride = (self._constant(number) for number in operator.inputs[1:4])
        options = operator.options
        if options["ellipsis"] or options["new_axis"] or options["shrink"] & ~1:
            raise NotTFLite("a slice that changes the number of axes")
        # The last step of a network of one face drops the batch; here there are several.
        parts = [
            slice(
                None if options["begin_mask"] >> axis & 1 else begin[axis],
                None if options["end_mask"] >> axis & 1 else end[axis],
                stride[axis],
            )
            for axis in range(1, len(begin))
        ]
        return lambda x: x[0][(slice(None), *parts)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs, in the file's order, for float32 [B, ...] in TFLite's order."""
        values: dict[int, Tensor] = {self.graph.inputs[0]: x}
        for (step, used, out), done in zip(self.plan, self.last, strict=True):
            values[out] = step([values.get(i, x) for i in used])
            for i in done:
                del values[i]
        return [values[i] for i in self.graph.outputs]
