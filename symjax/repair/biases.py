"""Bias calibration: biases shrunk by as much as merging shrinks what the kernels pass on, without any data."""

from typing import Any

import jax
import jax.numpy as jnp

from symjax.arguments import accumulation_dtype, finite_number
from symjax.channels import leaf_paths
from symjax.matching.sites import require_variables
from symjax.repair.places import Finder
from symjax.tracing import Symmetries
from symjax.tracing.describe import Path

__all__ = ["bias_heights", "calibrate_biases"]


def calibrate_biases(traced: Symmetries, merged: Any, variables_a: Any, variables_b: Any, alpha: float = 0.5) -> Any:
    """Give every bias of a merged network the weight that the input's own signal keeps up to there.

    The kernels of two networks whose units have nothing to do with each other pass ``(1 - alpha)`` and ``alpha`` of
    either signal on, layer after layer, while biases are averaged once: deep down nothing but biases is left. A bias
    behind ``h`` kernels becomes ``(1 - alpha)^h b_a + alpha^h b_b``; kernels stay as merged.

    Source: Qu & Horváth 2025, "Vanishing feature" (arXiv 2402.05966), section 4.3, and its published code. Deviation:
      the height is counted along the longest way from the input, not in the order in which a module lists its layers.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      merged: variables, from :func:`symjax.matching.merge`.
      variables_a: of the first network.
      variables_b: of the second one, aligned with the first.
      alpha: place on the line at which they were merged.

    Returns:
      Variables like ``merged``.

    Raises:
      ValueError: variables unlike those traced.

    Example:
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"] + v["bias"][None], 0.0) @ v["out"] + v["last"][None]
      >>> one = {"in": jnp.ones((1, 2)), "bias": jnp.ones(2), "out": jnp.ones((2, 1)), "last": jnp.ones(1)}
      >>> fixed = calibrate_biases(symmetries(apply, one, jnp.ones((1, 1))), one, one, one)
      >>> print(fixed["bias"], fixed["last"])
      [1. 1.] [0.5]
    """
    require_variables(traced, merged=merged, variables_a=variables_a, variables_b=variables_b)
    alpha, heights = finite_number("alpha", alpha), bias_heights(traced)
    leaves, a, b = (dict(leaf_paths(variables)) for variables in (merged, variables_a, variables_b))
    for path, height in heights.items():
        wide = accumulation_dtype(jnp.result_type(leaves[path]))
        one, two = (jnp.asarray(leaf[path]).astype(wide) for leaf in (a, b))
        leaves[path] = ((1 - alpha) ** height * one + alpha**height * two).astype(jnp.result_type(leaves[path]))
    return jax.tree.unflatten(jax.tree.structure(merged), [jnp.asarray(leaf) for leaf in leaves.values()])


def bias_heights(traced: Symmetries) -> dict[Path, int]:
    """Leaves that are added to what depends on the input -> the kernels before, along the longest way.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.

    Returns:
      Path of each -> its height.
    """
    finder, program = Finder(traced), traced.model.program
    data, height, found = finder.graph.data, dict.fromkeys(program.inputs, 0), {}
    for equation in program.equations:
        from_input = [value for value in equation.inputs if value in data]
        others = [value for value in equation.inputs if value not in data]
        if from_input:
            now = max(height[value] for value in from_input)
            now += bool(others) and equation.name in ("dot_general", "conv_general_dilated")
            for path in (path for value in others if equation.name == "add" for path in finder.added(value)):
                found[path] = max(now, found.get(path, 0))
            height.update(dict.fromkeys(equation.outputs, now))
    return found
