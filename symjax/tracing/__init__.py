"""Symmetries found from a model's own program: point :func:`symmetries` at it.

* :func:`symmetries`: every permutation, positive scaling, sign, linear group and translation of the parameters.
* :func:`verify`: the check of them on the model, which :func:`symmetries` makes by itself, at other variables.
* :func:`activations`: what hidden units say, by the name of their class.
* :func:`draw`: a picture of which parameters are tied by which classes of units.

The program is the jaxpr of ``apply(variables, x)``, flattened (:mod:`~symjax.tracing.program`). One walk types every
axis (:mod:`~symjax.tracing.axes`), a second one the units of every tensor (:mod:`~symjax.tracing.units`), over the
rationals for positive scalings and modulo two for signs; a third one finds where matrices may act
(:mod:`~symjax.tracing.ladder`), a fourth follows translations (:mod:`~symjax.tracing.shifts`). One table says what each
primitive means (:mod:`~symjax.tracing.rules`).

Any function of arrays will do. Where a model comes from:

* flax.linen: ``variables = model.init(key, x)``, then ``symmetries(model.apply, variables, x)``; in evaluation mode
  ``symmetries(lambda v, x: model.apply(v, x, train=False), variables, x)``, the keyword being the model's own.
  ``variables`` holds ``batch_stats`` beside ``params``; :func:`symjax.channels.restrict` takes the channels to one.
* flax.nnx: ``model.eval()`` if it has a dropout or a BatchNorm, then ``graph, state = nnx.split(model)``, then
  ``symmetries(lambda s, x: nnx.merge(graph, s)(x), state, x)``. What acts on ``state`` gives such a state, so
  ``nnx.merge(graph, moved)`` is a model again.
* a plain function: ``symmetries(function, params, x)``, where ``params`` is any pytree of arrays and
  ``function(params, x)`` is pure, without randomness and side effects.
  What else it needs is closed over: ``symmetries(lambda p, x: function(p, x, key=key), params, x)``.
* equinox: ``arrays, static = eqx.partition(eqx.nn.inference_mode(model), eqx.is_array)``, then
  ``symmetries(lambda a, x: jax.vmap(eqx.combine(a, static))(x), arrays, x)``;
  ``eqx.combine(moved, static)`` is a model again.
* keras with ``KERAS_BACKEND=jax``: ``v = model.trainable_variables, model.non_trainable_variables``, then
  ``values = [[one.value for one in part] for part in v]``, then
  ``symmetries(lambda v, x: model.stateless_call(*v, x, training=False)[0], values, x)``.
"""

from collections.abc import Callable
from typing import Any

import jax

from symjax.tracing.activations import activations
from symjax.tracing.describe import Class, Linear, Refusal, Scaling, Shift, Sign
from symjax.tracing.draw import draw
from symjax.tracing.found import Check, Symmetries, analyse, trace_program
from symjax.tracing.verify import verify

__all__ = [
    "Check",
    "Class",
    "Linear",
    "Refusal",
    "Scaling",
    "Shift",
    "Sign",
    "Symmetries",
    "activations",
    "draw",
    "symmetries",
    "verify",
]


def symmetries(apply: Callable[[Any, Any], Any], variables: Any, x: Any, key: jax.Array | None = None) -> Symmetries:
    """Find the symmetries of a model's parameters, and check them on the model.

    A symmetry is a transformation of the variables that leaves ``apply(variables, x)`` as it is for every ``x`` of this
    shape. What cannot be followed is refused by the name of the primitive and freezes what it reads, so that a group
    may be missed, but none is wrong; what fails the check is dropped. One that holds up to the epsilon of a
    normalisation is returned, says so (``up_to``), and changes the outputs by that little.

    Source: this library's own. Axes that must carry the same units are unified, and what stays free may be permuted;
    scalings are found as in dimensional analysis: a product adds degrees, a sum equates them, a contraction cancels.

    Args:
      apply: pure function of the variables and the input, in evaluation mode.
      variables: pytree of arrays, the parameters and whatever else the model keeps; or of `jax.ShapeDtypeStruct`, from
        which everything is found but nothing checked.
      x: the input, any pytree of arrays or `jax.ShapeDtypeStruct`.
      key: of the random elements of the check; None takes key 0.

    Returns:
      The symmetries; ``print`` shows them as a table. ``found.channels`` has them by class for
      :func:`symjax.channels.permute`, ``rescale``, ``flip`` and ``mix``: each takes ``{class: {name: array}}``, where
      the names are those of ``found.channels[class].scalings``, ``signs`` and ``mixings`` ("rescale", or "scale" if up
      to epsilon; "flip"; "mix"), except that ``permute`` takes ``{class: permutation}``.

    Raises:
      ValueError: a function that does not run on these shapes, that returns what is no array, or variables without
        floating arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> def apply(variables, x):
      ...     return jnp.maximum(x @ variables["in"], 0.0) @ variables["out"]
      >>> variables = {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 4))}
      >>> symmetries(apply, variables, jnp.ones((5, 2)))
      <Symmetries: 1 permutation classes, 1 scalings, 0 signs, 0 linear groups, 0 translations, dimension 3>
    """
    program, paths = trace_program(apply, variables, x)
    found = analyse(program, paths)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((variables, x))):
        return found
    return verify(found, variables, x, key)
