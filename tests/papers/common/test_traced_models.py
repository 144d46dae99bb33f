"""What tracing finds of this project's own models is what was written down of them by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.models import VGG11, vgg11_channels
from symjax.channels import Channel
from symjax.tracing import symmetries


def degrees(channel: Channel) -> list[dict]:
    """Degrees of every scaling of each unit, by the place."""
    return [
        {(site.path, site.axis, site.outer, site.inner): float(degree) for site, degree in scaling.terms}
        for scaling in channel.scalings
    ]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_vgg11_is_traced_as_it_was_described(batch_norm: bool) -> None:
    # its layers convolve windows, or dense maps, of stacked kernels, by the number of their channels
    model = VGG11(classes=10, width=1 / 32, batch_norm=batch_norm)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    found = symmetries(model.apply, variables, x)
    assert found.refused == ()
    described = vgg11_channels(variables)
    traced = found.channels
    assert {name: channel.size for name, channel in traced.items()} == {n: c.size for n, c in described.items()}
    dimension = 0
    for name, channel in described.items():
        mine, theirs = degrees(channel), degrees(traced[name])
        if (variance := ("batch_stats", name.replace("conv", "norm"), "var")) in {site.path for site in channel.sites}:
            # in evaluation the running variance goes against the gain, which in training is no symmetry of its own
            gain = ("params", variance[1], "scale")
            mine.append({(variance, 0, 1, 1): 1.0, (gain, 0, 1, 1): 0.5})
        places = sorted({place for row in (*mine, *theirs) for place in row})
        rows = [np.array([[row.get(place, 0.0) for place in places] for row in held]) for held in (mine, theirs)]
        ranks = [np.linalg.matrix_rank(matrix) for matrix in (*rows, np.concatenate(rows))]
        assert ranks == [len(mine)] * 3 == [len(theirs)] * 3, name
        dimension += channel.size * len(mine)
    assert sum(scaling.dimension for scaling in found.scalings) == dimension
