"""How an operation looks along the axes of an image: windows, strides and paddings, read off its equation."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import symjax
from symjax.tracing.program import Equation

__all__ = [
    "Constant",
    "Digit",
    "Kind",
    "Lost",
    "Segments",
    "Step",
    "Window",
    "resampled",
    "sizes_along",
    "steps_of",
    "where",
]

_NOT_THE_USERS = ("site-packages", str(Path(symjax.__file__).parent))

Kind = Literal["height", "width", ""]


class Digit(NamedTuple):
    """A factor of an axis: rows, columns, or neither."""

    kind: Kind
    size: int


Segments = tuple[tuple[Digit, ...], ...]
"""An axis: segments side by side, each a product of digits, outer first."""


class Step(NamedTuple):
    """How an operation looks along an axis: window, stride, padding on both sides, dilations of operand and window."""

    window: int
    stride: int
    low: int
    high: int
    base: int = 1
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Width of the dilated window."""
        return (self.window - 1) * self.dilation + 1

    def spread(self, size: int) -> int:
        """Length of the dilated operand, without padding."""
        return (size - 1) * self.base + 1

    def at(self, size: int) -> "Step":
        """The step at another size: a padding that is not symmetric was "SAME", which depends on the size."""
        if self.low == self.high:
            return self
        total = max((math.ceil(size / self.stride) - 1) * self.stride + self.reach - self.spread(size), 0)
        return self._replace(low=total // 2, high=total - total // 2)

    def after(self, size: int) -> int:
        """Number of windows."""
        return (self.spread(size) + self.low + self.high - self.reach) // self.stride + 1

    def commutes(self, size: int) -> bool:
        """Whether the windows, reversed, are the same windows: with symmetric padding p, (W + 2p - k) mod s = 0."""
        return 2 * self.low == (self.after(size) - 1) * self.stride + self.reach - self.spread(size)


class Window(NamedTuple):
    """An operation along spatial axes: for each kind the size there, the step, and the steps on the way to it."""

    operation: str
    source: str
    along: dict[str, tuple[int, Step, tuple[Step, ...]]]


class Constant(NamedTuple):
    """A known array that varies along a spatial axis, so that only a symmetric one commutes."""

    operation: str
    source: str
    array: np.ndarray
    columns: tuple[Segments, ...]


class Lost(NamedTuple):
    """An operation through which rows and columns could not be followed."""

    operation: str
    source: str


def sizes_along(steps: Iterable[Step], size: int) -> int:
    """Size of an axis behind some steps."""
    for step in steps:
        size = step.at(size).after(size) if size > 0 else 0
    return size


def resampled(equation: Equation) -> tuple[int | None, int | None]:
    """For each factor of a product the free axis, where it is a known matrix that is summed along its other axis."""
    summed, batch = equation.params["dimension_numbers"]
    found: list[int | None] = []
    for place, value in enumerate(equation.inputs):
        known = value.constant is not None and value.constant.ndim == 2
        alone = len(summed[place]) == 1 and not batch[place]
        found.append(1 - summed[place][0] if known and alone else None)
    return found[0], found[1]


def where(equation: Equation) -> str:
    """The module an equation stands in, and the line of the user's own file that made it."""
    module = next((name for source in reversed(equation.source) if (name := str(source.name_stack))), "")
    frames = (frame for source in reversed(equation.source) if source.traceback for frame in source.traceback.frames)
    own = next((frame for frame in frames if not any(part in frame.file_name for part in _NOT_THE_USERS)), None)
    return ", ".join(filter(None, (module, f"{own.file_name}:{own.line_num}" if own else "")))


def steps_of(equation: Equation) -> dict[int, tuple[int | None, int, Step]] | None:
    """For each axis along which an operation looks: the kernel's axis, the result's, and the step."""
    params: Any = equation.params
    if equation.name == "conv_general_dilated":
        lhs, rhs, out = params["dimension_numbers"]
        kernel = equation.inputs[1].shape
        return {
            read: (look, write, Step(kernel[look], stride, *pads, base, dilation))
            for read, look, write, stride, pads, base, dilation in zip(
                *(lhs[2:], rhs[2:], out[2:], params["window_strides"], params["padding"]),
                *(params["lhs_dilation"], params["rhs_dilation"]),
                strict=True,
            )
        }
    if equation.name.startswith("reduce_window"):
        keys = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
        rows = zip(*(params[key] for key in keys), strict=True)
        steps = [Step(window, stride, *pads, base, dilation) for window, stride, pads, base, dilation in rows]
        return {place: (None, place, step) for place, step in enumerate(steps) if step != Step(1, 1, 0, 0)}
    if equation.name == "pad":
        rows = params["padding_config"]
        return {
            k: (None, k, Step(1, 1, low, high, inner + 1)) for k, (low, high, inner) in enumerate(rows) if any(rows[k])
        }
    if equation.name == "slice":
        starts, stops = params["start_indices"], params["limit_indices"]
        strides = params["strides"] or (1,) * len(starts)
        rows = zip(starts, stops, strides, equation.inputs[0].shape, strict=True)
        return {
            place: (None, place, Step(1, stride, -start, stop - size))
            for place, (start, stop, stride, size) in enumerate(rows)
            if (start, stop, stride) != (0, size, 1)
        }
    return None
