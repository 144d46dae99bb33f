"""The flip condition (W + 2p - k) mod s = 0: operations that see other pixels in the mirror, and sizes that do not."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.equivariance.groups import SpatialGroup, dihedral_parts, flip_group
from symjax.equivariance.operations import Constant, Window, sizes_along
from symjax.equivariance.spatial import SpatialLayout, find_spatial, move_array

__all__ = ["Break", "advice", "broken", "exact_sizes"]

_NAMES = {"reduce_window_max": "max pooling", "reduce_window_sum": "sum pooling", "conv_general_dilated": "convolution"}


class Break(NamedTuple):
    """An operation that does not commute with a group: its name, where it was written, and why."""

    operation: str
    source: str
    why: str

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"{_NAMES.get(self.operation, self.operation)}{where}: {self.why}"


def broken(layout: SpatialLayout, group: SpatialGroup) -> tuple[Break, ...]:
    """List the operations of a model that do not commute with a group.

    Along an axis that the group reverses a window k with stride s and padding p on size W commutes iff
    ``(W + 2 p - k) mod s = 0``; a padding that differs on both sides never does unless the stride hides it. A group
    that exchanges rows and columns needs the same window along both.

    Source: this library's own derivation; Bökman & Kahl 2023, arXiv 2305.17017, report the effect (ResNet50 at 224).

    Args:
      layout: from :func:`symjax.equivariance.find_spatial`.
      group: the group.

    Returns:
      The operations in the order of the program; empty where f^g(g x) = g f(x) holds exactly.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.equivariance import find_spatial, flip_group
      >>> halve = lambda v, x: jax.lax.conv_general_dilated(
      ...     x, v["k"], (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
      >>> layout = find_spatial(halve, {"k": jnp.ones((3, 3, 1, 2))}, jnp.ones((1, 8, 8, 1)))
      >>> print(broken(layout, flip_group())[0].why)
      width 8, window 3, stride 2, padding 1: (8 + 2 - 3) mod 2 = 1
    """
    parts = [dihedral_parts(group, g) for g in range(1, group.order)]
    swap = any(part is None or part[0] for part in parts)
    reversed_ = {
        "height": any(part is None or part[1] for part in parts),
        "width": any(part is None or part[2] for part in parts),
    }
    result = [one for window in layout.windows for one in _window(window, swap, reversed_)]
    why = "a constant that varies along the image"
    result += [
        Break(one.operation, one.source, why) for one in layout.constants if not _symmetric(one, group, reversed_)
    ]
    lost = [Break(lost.operation, lost.source, "rows and columns are not followed through it") for lost in layout.lost]
    return (*result, *lost)


def _symmetric(constant: Constant, group: SpatialGroup, reversed_: Mapping[str, bool]) -> bool:
    """Whether a known array stays, up to rounding; along rows or columns alone it is only reversed."""
    kinds = {digit.kind for column in constant.columns for segment in column for digit in segment} - {""}
    if len(kinds) == 1:
        kind = kinds.pop()
        if not reversed_[kind]:
            return True
        group = flip_group(kind)
    for g in range(1, group.order):
        try:
            moved = move_array(constant.array, constant.columns, group, g, "a constant")
        except ValueError:
            return False
        if not np.issubdtype(moved.dtype, np.floating):
            same = np.array_equal(moved, constant.array)
        else:
            finite = np.where(np.isfinite(constant.array), np.abs(constant.array), 0)
            rounding = 100 * np.finfo(moved.dtype).eps * finite.max()
            same = np.allclose(moved, constant.array, rtol=0, atol=rounding, equal_nan=True)
        if not same:
            return False
    return True


def _window(window: Window, swap: bool, reversed_: Mapping[str, bool]) -> Iterable[Break]:
    for kind, (size, step, _) in window.along.items():
        if reversed_[kind] and not step.commutes(size):
            shape = f"{kind} {size}, window {step.reach}, stride {step.stride}"
            if step.low == step.high:
                rest = (step.spread(size) + 2 * step.low - step.reach) % step.stride
                why = f"{shape}, padding {step.low}: ({step.spread(size)} + {2 * step.low} - {step.reach})"
                why = f"{why} mod {step.stride} = {rest}"
            else:
                why = f"{shape}, padding {step.low} before and {step.high} behind"
            yield Break(window.operation, window.source, why)
            return
    if swap and len({(size, step) for size, step, _ in window.along.values()}) + (len(window.along) == 1) != 1:
        yield Break(
            window.operation, window.source, "the group exchanges rows and columns, which are not treated alike"
        )


def exact_sizes(
    apply: Callable[[Any, Any], Any],
    variables: Any,
    x: Any,
    group: SpatialGroup,
    axes: Mapping[str, int] | None = None,
    reach: int = 64,
) -> tuple[int, ...]:
    """Sizes of the image, near the given one, at which every operation commutes with a group.

    All spatial axes have this size. Candidates follow from the windows that were found; each one returned has been
    traced again, from shapes alone.

    Source: this library's own.

    Args:
      apply: as for :func:`symjax.equivariance.find_spatial`.
      variables: as there.
      x: as there; its size is where the search starts.
      group: the group.
      axes: as there.
      reach: how far from the given size the search goes.

    Returns:
      The nearest size below and the nearest above, those that exist, or the given size alone if it is exact.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.equivariance import flip_group
      >>> halve = lambda v, x: jax.lax.conv_general_dilated(
      ...     x, v["k"], (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
      >>> exact_sizes(halve, {"k": jnp.ones((3, 3, 1, 2))}, jnp.ones((1, 8, 8, 1)), flip_group())
      (7, 9)
    """
    places = {"height": 1, "width": 2} if axes is None else dict(axes)
    shape = tuple(jnp.shape(x))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), variables)

    def exact(size: int) -> bool:
        moved = tuple(size if axis in places.values() else n for axis, n in enumerate(shape))
        try:
            layout = find_spatial(apply, shapes, jax.ShapeDtypeStruct(moved, jnp.result_type(x)), places)
        except ValueError:
            return False
        return not broken(layout, group)

    start = max(shape[axis] for axis in places.values())
    if exact(start):
        return (start,)
    windows = find_spatial(apply, shapes, jax.ShapeDtypeStruct(shape, jnp.result_type(x)), places).windows
    below = (size for size in range(start - 1, max(start - reach, 0), -1) if _fits(windows, size))
    above = (size for size in range(start + 1, start + reach + 1) if _fits(windows, size))
    found = [next((size for size in sizes if exact(size)), None) for sizes in (below, above)]
    return tuple(size for size in found if size is not None)


def advice(
    apply: Callable[[Any, Any], Any],
    variables: Any,
    x: Any,
    group: SpatialGroup,
    axes: Mapping[str, int] | None = None,
) -> str:
    """Say in a sentence which operation breaks a group on images of this size, and which sizes work.

    Source: this library's own.

    Args:
      apply: as for :func:`exact_sizes`.
      variables: as there.
      x: as there.
      group: the group.
      axes: as there.

    Returns:
      The sentence; empty where every operation commutes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.equivariance import flip_group
      >>> halve = lambda v, x: jax.lax.conv_general_dilated(
      ...     x, v["k"], (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
      >>> sentence = advice(halve, {"k": jnp.ones((3, 3, 1, 2))}, jnp.ones((1, 8, 8, 1)), flip_group())
      >>> print(sentence[-65:])
      1 operation does not commute with C2 (width); sizes 7 and 9 work
    """
    breaks = broken(find_spatial(apply, variables, x, axes), group)
    if not breaks:
        return ""
    sizes = exact_sizes(apply, variables, x, group, axes)
    many = f"{len(breaks)} operations do" if len(breaks) > 1 else "1 operation does"
    work = (
        f"sizes {' and '.join(map(str, sizes))} work" if len(sizes) > 1 else f"size {sizes[0]} works" if sizes else ""
    )
    return f"{breaks[0]}; {many} not commute with {group.name}; {work or 'no size near this one works'}"


def _fits(windows: tuple[Window, ...], size: int) -> bool:
    for window in windows:
        for _, step, before in window.along.values():
            length = sizes_along(before, size)
            if length < 1 or step.at(length).after(length) < 1 or not step.at(length).commutes(length):
                return False
    return True
