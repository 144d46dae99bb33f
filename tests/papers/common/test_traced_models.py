"""What tracing finds of VGG11 is what one writes down of it by hand."""

from collections import defaultdict
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.models import VGG11
from symjax.tracing import symmetries

LAYERS = [*(f"conv{index}" for index in range(1, 9)), "dense1", "dense2", "dense3"]


def described(batch_norm, training):
    """Layer -> its scalings by hand, each leaf -> degree of the layer's units."""
    result = {}
    for layer, reader in pairwise(LAYERS):
        writes, reads = {f"{layer}/kernel": 1, f"{layer}/bias": 1}, {f"{reader}/kernel": -1}
        norm, statistics = layer.replace("conv", "norm"), layer.replace("conv", "running")
        if layer == norm or not batch_norm:
            result[layer] = [writes | reads]
            continue
        gains = {f"{norm}/scale": 1, f"{norm}/bias": 1}
        filters = writes | {f"{statistics}/mean": 1, f"{statistics}/var": 2}
        # in evaluation the running variance goes against the gain; in training, where it is not read, it does not
        against = {f"{norm}/scale": 1, f"{statistics}/var": 2}
        result[layer] = [{f"{layer}/kernel": 1}, gains | reads] if training else [filters, gains | reads, against]
    return result


@pytest.mark.parametrize(("batch_norm", "training"), [(True, False), (True, True), (False, False)])
def test_vgg11_is_traced_as_it_is_described(batch_norm, training):
    # its layers convolve windows, or dense maps, of stacked kernels, by the number of their channels
    model = VGG11(classes=10, width=1 / 32, batch_norm=batch_norm, dropout=0.0)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    if training:
        stats = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables["batch_stats"])

        def apply(params, x):
            return model.apply({"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"])[0]

        found = symmetries(apply, variables["params"], x)
        assert len(found.unread) == 8  # biases before a batch's own mean
    else:
        found = symmetries(model.apply, variables, x)
    assert found.refused == ()
    traced = defaultdict(list)
    for scaling in found.scalings:
        places = {"/".join(map(str, term.place.path)): float(term.degree) for term in scaling.terms}
        assert len(places) == len(scaling.terms)  # a kernel read tap by tap is one place
        traced[scaling.over[0]].append({_short(path): degree for path, degree in places.items()})
    by_hand = described(batch_norm, training)
    assert traced.keys() == by_hand.keys()
    for name, rows in by_hand.items():
        leaves = sorted({leaf for row in (*rows, *traced[name]) for leaf in row})
        both = [np.array([[row.get(leaf, 0.0) for leaf in leaves] for row in one]) for one in (rows, traced[name])]
        ranks = [np.linalg.matrix_rank(matrix) for matrix in (*both, np.concatenate(both))]
        assert ranks == [len(rows)] * 3 == [len(traced[name])] * 3, name


def _short(path):
    return path.replace("batch_stats/norm", "running").removeprefix("params/")
