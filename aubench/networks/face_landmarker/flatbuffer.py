"""A reader of TFLite files: the tables of a flatbuffer, as far as these networks use them.

The layout of a flatbuffer: little endian; a table starts with the signed distance back to its
vtable, which lists where in the table each field lies, 0 where it is left at its default; strings,
vectors and tables are reached by unsigned distances forward. The numbers of fields, types and
operators are those of TFLite's schema, version 3 (tensorflow/lite/schema/schema.fbs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IDENTIFIER = b"TFL3"

TYPES: dict[int, Any] = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
"""Element types by number; others do not occur here."""

OPERATORS = {
    0: "add",
    2: "concatenation",
    3: "conv_2d",
    4: "depthwise_conv_2d",
    6: "dequantize",
    14: "logistic",
    17: "max_pool_2d",
    18: "mul",
    19: "relu",
    22: "reshape",
    34: "pad",
    39: "transpose",
    40: "mean",
    41: "sub",
    42: "div",
    45: "strided_slice",
    54: "prelu",
    59: "neg",
    74: "sum",
    75: "sqrt",
    76: "rsqrt",
    99: "squared_difference",
}
"""Names of the operators by number."""

OPTIONS: dict[str, dict[str, tuple[int, str, int]]] = {
    "conv_2d": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "activation": (3, "b", 0),
        "dilation_x": (4, "i", 1),
        "dilation_y": (5, "i", 1),
    },
    "depthwise_conv_2d": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "multiplier": (3, "i", 0),
        "activation": (4, "b", 0),
        "dilation_x": (5, "i", 1),
        "dilation_y": (6, "i", 1),
    },
    "max_pool_2d": {
        "padding": (0, "b", 0),
        "stride_x": (1, "i", 0),
        "stride_y": (2, "i", 0),
        "width": (3, "i", 0),
        "height": (4, "i", 0),
        "activation": (5, "b", 0),
    },
    "concatenation": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
    "mean": {"keep": (0, "b", 0)},
    "sum": {"keep": (0, "b", 0)},
    "strided_slice": {
        "begin_mask": (0, "i", 0),
        "end_mask": (1, "i", 0),
        "ellipsis": (2, "i", 0),
        "new_axis": (3, "i", 0),
        "shrink": (4, "i", 0),
    },
    **{name: {"activation": (0, "b", 0)} for name in ("add", "mul", "sub", "div")},
}
"""Options of operators: field number, format and default."""


class NotTFLite(ValueError):
    """Bytes that are no TFLite file, or one with parts that are not known here."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        shape: with a batch of one where it is not constant.
        data: its values where it is constant, else None.
    """

    shape: tuple[int, ...]
    data: Array | None


@dataclass(frozen=True)
class Operator:
    """One step of a graph.

    Attributes:
        name: as in ``OPERATORS``.
        inputs: numbers of tensors; -1 for one that is left out.
        outputs: numbers of tensors.
        options: by name; padding 0 is SAME, 1 is VALID; activation 0 is none, 1 is ReLU.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]


@dataclass(frozen=True)
class Graph:
    """A network as a list of steps, in the order in which they run.

    Attributes:
        tensors: all of them, by number.
        operators: the steps.
        inputs: numbers of the tensors that are given.
        outputs: numbers of the tensors that are asked for.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Table:
    """A table at a place of the file."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.vtable = at - _number(data, at, "i")
        self.fields = (_number(data, self.vtable, "H") - 4) // 2

    def where(self, field: int) -> int:
        """Return where a field lies, 0 if it is left at its default."""
        if field >= self.fields:
            return 0
        offset = _number(self.data, self.vtable + 4 + 2 * field, "H")
        return self.at + offset if offset else 0

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a number."""
        at = self.where(field)
        return _number(self.data, at, form) if at else default

    def table(self, field: int) -> _Table | None:
        """Return a table, None if there is none."""
        at = self.where(field)
        return _Table(self.data, at + _number(self.data, at, "I")) if at else None

    def vector(self, field: int) -> tuple[int, int]:
        """Return where the items of a vector start and how many there are."""
        at = self.where(field)
        if not at:
            return 0, 0
        start = at + _number(self.data, at, "I")
        return start + 4, _number(self.data, start, "I")

    def tables(self, field: int) -> list[_Table]:
        """Return a vector of tables."""
        start, count = self.vector(field)
        places = [start + 4 * i for i in range(count)]
        return [_Table(self.data, at + _number(self.data, at, "I")) for at in places]

    def array(self, field: int, kind: Any) -> Array:
        """Return a vector of numbers."""
        start, count = self.vector(field)
        if start + count * np.dtype(kind).itemsize > len(self.data):
            raise NotTFLite("a vector ends outside the file")
        return np.frombuffer(self.data, np.dtype(kind).newbyteorder("<"), count, start)

    def integers(self, field: int) -> tuple[int, ...]:
        """Return a vector of 32-bit integers."""
        return tuple(int(i) for i in self.array(field, np.int32))


def _number(data: bytes, at: int, form: str) -> int:
    if at < 0:
        raise NotTFLite("an offset points before the file")
    value: int = struct.unpack_from("<" + form, data, at)[0]
    return value


def _tensor(row: _Table, buffers: list[_Table]) -> Tensor:
    shape, kind, number = row.integers(0), row.number(1, "b"), row.number(2, "I")
    raw = buffers[number].array(0, np.uint8)
    if not len(raw):
        return Tensor(shape, None)
    if kind not in TYPES:
        raise NotTFLite(f"element type {kind} is not known")
    values = raw.view(np.dtype(TYPES[kind]).newbyteorder("<")).reshape(shape)
    return Tensor(shape, values.astype(TYPES[kind]))


def _operator(row: _Table, codes: list[int]) -> Operator:
    code = codes[row.number(0, "I")]
    if code not in OPERATORS:
        raise NotTFLite(f"operator {code} is not known")
    name, given = OPERATORS[code], row.table(4)
    known = OPTIONS.get(name, {})
    options = {key: given.number(*where) if given else where[2] for key, where in known.items()}
    if options.get("activation", 0) not in (0, 1):
        raise NotTFLite(f"activation {options['activation']} of {name} is not known")
    return Operator(name, row.integers(1), row.integers(2), options)


def read(data: bytes) -> Graph:
    """Read the first graph of a TFLite file.

    Raises:
        NotTFLite: the bytes are cut short, of another kind, or hold an operator, an element type
            or an activation that is not known here.
    """
    if data[4:8] != IDENTIFIER:
        raise NotTFLite("not a TFLite file")
    try:
        model = _Table(data, _number(data, 0, "I"))
        # Numbers below 127 once had a byte of their own; both are kept, the larger one holds.
        codes = [max(row.number(0, "b"), row.number(3, "i")) for row in model.tables(1)]
        buffers, graph = model.tables(4), model.tables(2)[0]
        return Graph(
            tuple(_tensor(row, buffers) for row in graph.tables(0)),
            tuple(_operator(row, codes) for row in graph.tables(3)),
            graph.integers(1),
            graph.integers(2),
        )
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, NotTFLite):
            raise
        raise NotTFLite(f"damaged: {error}") from error
