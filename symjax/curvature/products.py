"""Products with the Hessian of a loss, and the dense Hessian under a memory guard."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from symjax.curvature.operators import Params, flat_product, like, loss_at, parameters, run, whole

Loss = Callable[..., jax.Array]
Method = Literal["full", "chunks"]


def hvp(loss: Loss, params: Params, *args: Any) -> Callable[[Params], Params]:
    """Return the product with the Hessian of a loss at a point.

    ``v -> H v``, ``H = d^2 loss / d params^2``, forward over reverse mode. The gradient is linearised here and now, so
    that a product does not repeat the network's own passes; compile the caller.

    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.

    Args:
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of floating arrays, the point; integers are promoted.
      *args: what else the loss takes, such as a batch.

    Returns:
      A linear function from a pytree like ``params`` to another, in the dtypes of ``params``.

    Raises:
      ValueError: a loss that is not a scalar, parameters or a vector of another structure.

    Example:
      >>> import jax.numpy as jnp
      >>> product = hvp(lambda q: q[0] ** 2 * q[1], jnp.array([1.0, 2.0]))
      >>> print(product(jnp.array([1.0, 0.0])))
      [4. 2.]
    """
    params, form = parameters(params)
    linear = jax.linearize(jax.grad(loss_at(loss, args)), params)[1]

    def product(vector: Params) -> Params:
        vector = like("the vector", vector, form)
        return linear(jax.tree.map(lambda v, q: v.astype(q.dtype), vector, params))

    return product


def hessian(
    loss: Loss, params: Params, *args: Any, limit_bytes: int = 2**30, method: Method = "full", chunk: int = 128
) -> jax.Array:
    """Compute the dense Hessian of a loss.

    ``H_ij = d^2 loss / d theta_i d theta_j``, the leaves of ``params`` raveled in ``jax.tree.leaves`` order. The loss
    is traced anew at every call; who calls often compiles the caller, ``jax.jit(partial(hessian, loss))``.

    Source: Zhao et al. 2023, Fig. 9 (spectra of the Hessian).

    Args:
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of floating arrays with P entries in all; integers are promoted.
      *args: what else the loss takes; arrays are traced, all else reaches it as it is.
      limit_bytes: the largest matrix to build, P^2 times the size of an entry. It guards the answer alone: "full"
        needs about three times as much in passing, and the activations of P simultaneous passes.
      method: "full" is ``jax.hessian``; "chunks" linearises the gradient once and takes ``chunk`` rows at a time, with
        the activations of ``chunk`` passes only.
      chunk: rows at a time.

    Returns:
      An array (P, P) in float32 at least; symmetric up to the round-off of the loss.

    Raises:
      ValueError: the matrix is larger than ``limit_bytes``, a loss that is not a scalar, or an unknown method.

    Example:
      >>> import jax.numpy as jnp
      >>> print(hessian(lambda q: q[0] ** 2 * q[1], jnp.array([1.0, 2.0])))
      [[4. 2.]
       [2. 0.]]
    """
    params, form = parameters(params)
    needed = form.size**2 * form.dtype.itemsize
    if needed > limit_bytes:
        raise ValueError(
            f"the Hessian of {form.size} parameters in {form.dtype} has {needed} bytes, more than "
            f"limit_bytes={limit_bytes}; raise limit_bytes, or use eigenvalues, density or trace, which only take "
            "products with it"
        )
    if method not in ("full", "chunks"):
        raise ValueError(f'method is {method!r}, but must be "full" or "chunks"')
    chunk = whole("chunk", chunk, 1)

    def compute(params: Params, args: tuple[Any, ...]) -> jax.Array:
        if method == "full":
            bound = loss_at(loss, args)
            return jax.hessian(lambda flat: bound(form.unravel(flat)))(form.ravel(params))
        product = flat_product(loss, params, args, "hessian")
        return jax.lax.map(product, jnp.eye(form.size, dtype=form.dtype), batch_size=min(chunk, form.size))

    return run(compute, params, args)
