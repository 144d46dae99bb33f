"""Finite groups that act on images and on the kernels of convolutions by one function of the two spatial axes."""

from collections.abc import Callable
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import floating_array, whole_number

__all__ = ["SpatialGroup", "dihedral_group", "flip_group", "require_element", "rotation_group", "spatial_group"]


class SpatialGroup(NamedTuple):
    """A finite group with its action on arrays (..., height, width).

    Attributes:
      name: such as "C4".
      table: array (order, order): ``table[g, h]`` is the number of the element gh; element 0 is the identity.
      act: ``act(g, array)`` moves an array (..., height, width) by element g, with ``act(g, act(h, a))`` equal to
        ``act(table[g, h], a)``. An axis that an array does not have is there with length one.
    """

    name: str
    table: np.ndarray
    act: Callable[[int, Any], Any]

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.table)

    @property
    def inverses(self) -> np.ndarray:
        """Array (order,): the number of the inverse of each element."""
        return np.argmin(self.table, axis=1)

    @property
    def generators(self) -> tuple[int, ...]:
        """A few elements whose products are all of them, found greedily."""
        chosen: list[int] = []
        reached = {0}
        for g in range(self.order):
            if g in reached:
                continue
            chosen.append(g)
            while True:
                more = reached | {int(self.table[a, b]) for a in (*reached, *chosen) for b in chosen}
                if more == reached:
                    break
                reached = more
        return tuple(chosen)

    def __repr__(self) -> str:
        return f"<SpatialGroup {self.name}, {self.order} elements>"


def flip_group(axis: Literal["width", "height"] = "width") -> SpatialGroup:
    """The group C2 of one flip: left-right (of the width) or upside down (of the height).

    ``(t x)(h, w) = x(h, W - 1 - w)``

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2.

    Args:
      axis: the axis that is reversed.

    Returns:
      The group; element 1 is the flip.

    Raises:
      ValueError: another axis.

    Example:
      >>> import jax.numpy as jnp
      >>> print(flip_group().act(1, jnp.arange(4).reshape(2, 2)))
      [[1 0]
       [3 2]]
    """
    if axis not in ("width", "height"):
        raise ValueError(f"axis is {axis!r}, but must be 'width' or 'height'")
    place = -1 if axis == "width" else -2

    def act(g: int, array: Any) -> Any:
        return namespace(array).flip(array, place) if g else array

    return SpatialGroup(f"C2 ({axis})", np.array([[0, 1], [1, 0]]), act)


def rotation_group() -> SpatialGroup:
    """The group C4 of quarter turns; element k turns by k quarters, counterclockwise.

    Source: Cohen & Welling 2016, Group equivariant convolutional networks, section 4.1.

    Returns:
      The group.

    Example:
      >>> import jax.numpy as jnp
      >>> print(rotation_group().act(1, jnp.arange(4).reshape(2, 2)))
      [[1 3]
       [0 2]]
    """
    table = (np.arange(4)[:, None] + np.arange(4)) % 4
    return SpatialGroup("C4", table, lambda g, array: namespace(array).rot90(array, int(g), axes=(-2, -1)))


def dihedral_group() -> SpatialGroup:
    """The group D4 of quarter turns and flips; element ``k + 4 f`` flips the width f times, then turns k quarters.

    ``r^a t^b r^c t^d = r^(a + (-1)^b c) t^(b + d)``

    Source: Cohen & Welling 2016, section 4.1 (their p4m without translations).

    Returns:
      The group, eight elements.

    Example:
      >>> dihedral_group().generators
      (1, 4)
    """
    table = np.zeros((8, 8), int)
    for (b, a), (d, c) in product(product((0, 1), range(4)), repeat=2):
        table[a + 4 * b, c + 4 * d] = (a + (-1) ** b * c) % 4 + 4 * ((b + d) % 2)

    def act(g: int, array: Any) -> Any:
        turns, flips = int(g) % 4, int(g) // 4
        space = namespace(array)
        return space.rot90(space.flip(array, -1) if flips else array, turns, axes=(-2, -1))

    return SpatialGroup("D4", table, act)


def spatial_group(table: Any, act: Callable[[int, Any], Any], name: str = "G") -> SpatialGroup:
    """A group of one's own, by its Cayley table and its action; both are checked.

    The law of the action is tried on arrays (4, 4) and (3, 3).

    Source: the axioms of a group and of its action.

    Args:
      table: integers (order, order): ``table[g][h]`` is the number of gh; element 0 must be the identity.
      act: ``act(g, array)`` on arrays (..., height, width), the same for an image and for a kernel.
      name: how messages call it.

    Returns:
      The group.

    Raises:
      ValueError: a table that is no group's, or a function that does not act by it.

    Example:
      >>> import jax.numpy as jnp
      >>> half_turn = spatial_group([[0, 1], [1, 0]], lambda g, a: jnp.rot90(a, 2 * g, axes=(-2, -1)), "half turn")
      >>> half_turn
      <SpatialGroup half turn, 2 elements>
    """
    table = _cayley(table)
    group = SpatialGroup(name, table, act)
    for size in (4, 3):
        array = jnp.asarray(np.random.default_rng(0).permutation(2 * size**2).reshape(2, size, size), jnp.float32)
        moved = [floating_array(f"act({g}, array)", act(g, array)) for g in range(len(table))]
        if any(one.shape != array.shape for one in moved):
            raise ValueError(f"act changes the shape {array.shape} of an array that is square in its last two axes")
        for g, h in product(range(len(table)), repeat=2):
            if not np.array_equal(act(g, moved[h]), moved[table[g, h]]):
                raise ValueError(f"act({g}, act({h}, a)) differs from act({table[g, h]}, a), as the table has it")
        if not np.array_equal(moved[0], array):
            raise ValueError("act(0, a) differs from a, but element 0 must be the identity")
    return group


def namespace(array: Any) -> Any:
    """NumPy for its own arrays, where nothing need be compiled; else jax's."""
    return np if isinstance(array, np.ndarray) else jnp


def _cayley(table: Any) -> np.ndarray:
    table = np.asarray(table)
    n = len(table) if table.ndim == 2 else 0
    if table.shape != (n, n) or not n or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"table has shape {table.shape} and dtype {table.dtype}, but must be square and of integers")
    every = np.arange(n)
    rows = all(np.array_equal(np.sort(line), every) for line in (*table, *table.T))
    if not rows or not np.array_equal(table[0], every) or not np.array_equal(table[:, 0], every):
        raise ValueError(
            "table is no group's: each row and column must hold every element once, element 0 the identity"
        )
    if not np.array_equal(table[table], table[:, table]):
        raise ValueError("table is not associative, so it is no group's")
    return table


def require_element(group: SpatialGroup, g: Any) -> int:
    """Read the number of an element of a group.

    Source: this library's bookkeeping.

    Args:
      group: the group.
      g: an integer in [0, order).

    Returns:
      A Python int.

    Raises:
      ValueError: anything else.
    """
    number = whole_number("g", g, 0)
    if number >= group.order:
        raise ValueError(f"g is {number}, but {group.name} has {group.order} elements")
    return number


def dihedral_parts(group: SpatialGroup, g: int) -> tuple[bool, bool, bool] | None:
    """Whether an element swaps the axes, and which axes of its result run backwards; None for another action."""
    array = np.arange(12).reshape(3, 4)
    square = np.arange(9).reshape(3, 3)
    with jax.ensure_compile_time_eval():
        moved = np.asarray(group.act(g, jnp.asarray(square)))
        for swap, tall, wide in product((False, True), repeat=3):
            parts = [square.T if swap else square, array.T if swap else array]
            parts = [part[:: -1 if tall else 1, :: -1 if wide else 1] for part in parts]
            if np.array_equal(moved, parts[0]) and np.array_equal(
                np.asarray(group.act(g, jnp.asarray(array))), parts[1]
            ):
                return swap, tall, wide
    return None
