"""Products with the Hessian of a loss, and the dense Hessian under a memory guard."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax.symmetry import Params

Loss = Callable[..., jax.Array]
Operator = Literal["hessian", "product"]
Method = Literal["full", "chunks"]


def hvp(loss: Loss, params: Params, *args: Any) -> Callable[[Params], Params]:
    """Return the product with the Hessian of a loss at a point.

    ``v -> H v``, ``H = d^2 loss / d params^2``, forward over reverse mode. The gradient is linearised once, so that a
    product does not repeat the network's own passes; compile the caller.

    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.

    Args:
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of floating arrays, the point.
      *args: what else the loss takes, such as a batch.

    Returns:
      A linear function from a pytree like ``params`` to another.

    Example:
      >>> import jax.numpy as jnp
      >>> product = hvp(lambda q: q[0] ** 2 * q[1], jnp.array([1.0, 2.0]))
      >>> print(product(jnp.array([1.0, 0.0])))
      [4. 2.]
    """
    return jax.linearize(jax.grad(lambda q: loss(q, *args)), params)[1]


def hessian(
    loss: Loss, params: Params, *args: Any, limit_bytes: int = 2**30, method: Method = "full", chunk: int = 128
) -> jax.Array:
    """Compute the dense Hessian of a loss.

    ``H_ij = d^2 loss / d theta_i d theta_j``, the leaves of ``params`` raveled in ``jax.tree.leaves`` order.

    Source: Zhao et al. 2023, Fig. 9 (spectra of the Hessian).

    Args:
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of floating arrays with P entries in all.
      *args: what else the loss takes.
      limit_bytes: the largest matrix to build, P^2 times the size of an entry. It guards the answer alone: "full"
        needs about three times as much in passing, and the activations of P simultaneous passes.
      method: "full" is ``jax.hessian``; "chunks" linearises the gradient once and takes ``chunk`` rows at a time, with
        the activations of ``chunk`` passes only.
      chunk: rows at a time.

    Returns:
      An array (P, P); symmetric up to round-off.

    Raises:
      ValueError: the matrix is larger than ``limit_bytes``, a loss that is not a scalar, or an unknown method.

    Example:
      >>> import jax.numpy as jnp
      >>> print(hessian(lambda q: q[0] ** 2 * q[1], jnp.array([1.0, 2.0])))
      [[4. 2.]
       [2. 0.]]
    """
    count, dtype = size(params)
    needed = count**2 * dtype.itemsize
    if needed > limit_bytes:
        raise ValueError(
            f"the Hessian of {count} parameters in {dtype} has {needed} bytes, more than limit_bytes={limit_bytes}; "
            "raise limit_bytes, or use eigenvalues, density or trace, which only take products with it"
        )
    found = jax.eval_shape(loss, params, *args)
    if getattr(found, "shape", None) != ():
        raise ValueError(f"loss gives {found}, but must give a scalar")
    if method not in ("full", "chunks"):
        raise ValueError(f'method is {method!r}, but must be "full" or "chunks"')
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, but must be at least 1")
    return _hessian(loss, params, args, method, chunk)


def size(params: Params) -> tuple[int, jnp.dtype]:
    """Return the number of entries of a pytree and the dtype they are raveled to.

    Raises:
      ValueError: a leaf is not floating, or there is none.
    """
    leaves = jax.tree.leaves(params)
    wrong = [jnp.result_type(leaf) for leaf in leaves if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    if wrong or not leaves:
        raise ValueError(
            f"params has {f'a leaf of dtype {wrong[0]}' if wrong else 'no leaves'}, but needs floating arrays"
        )
    raveled = jax.eval_shape(lambda tree: ravel_pytree(tree)[0], params)
    return raveled.size, raveled.dtype


def flat_product(
    function: Callable[..., Any], params: Params, args: tuple[Any, ...], operator: Operator
) -> Callable[[jax.Array], jax.Array]:
    """Return the product on raveled vectors, with the Hessian of ``function`` or by ``function(vector, *args)``."""
    flat, unravel = ravel_pytree(params)
    if operator == "hessian":
        return hvp(lambda q: function(unravel(q), *args), flat)
    if operator == "product":
        return lambda vector: ravel_pytree(function(unravel(vector), *args))[0]
    raise ValueError(f'operator is {operator!r}, but must be "hessian" or "product"')


@partial(jax.jit, static_argnums=(0, 3, 4))
def _hessian(loss: Loss, params: Params, args: tuple[Any, ...], method: Method, chunk: int) -> jax.Array:
    flat, unravel = ravel_pytree(params)
    if method == "full":
        return jax.hessian(lambda q: loss(unravel(q), *args))(flat)
    product = flat_product(loss, params, args, "hessian")
    basis = jnp.eye(flat.size, dtype=flat.dtype)
    return jax.lax.map(product, basis, batch_size=min(chunk, flat.size))
