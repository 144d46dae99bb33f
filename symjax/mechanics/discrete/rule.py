"""What the recursions share: the sum's compensation, PyTorch's dampening, and the reading of arguments."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import real_numbers


def compensated_add(total: jax.Array, compensation: jax.Array, term: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kahan's sum: the rounding of each addition is carried to the next."""
    term = term - compensation
    new = total + term
    return new, (new - total) - term


def undamped(step: jax.Array, momentum: jax.Array, dampening: jax.Array) -> jax.Array:
    """`1 - delta`, but 1 where PyTorch does not dampen: the first buffer, and a rule without a buffer."""
    return jnp.where((step == 0) | (momentum == 0), jnp.ones_like(dampening), 1 - dampening)


def hyper_parameters(dtype: Any, *values: ArrayLike) -> tuple[jax.Array, ...]:
    names = ("learning_rate", "momentum", "weight_decay", "dampening")
    return real_numbers(dtype, **dict(zip(names, values, strict=True)))


def flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, but must be True or False")
    return value


def require_state(state: Any, kind: type, maker: str) -> None:
    if not isinstance(state, kind):
        raise ValueError(f"state is a {type(state).__name__}, but must be the {kind.__name__} that {maker} returns")
