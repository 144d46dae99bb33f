"""Figure 9: the authors' numbers, closed forms, finite differences, and claims that can fail."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.gradient_flow import figure_9_spectra as spectra
from papers.gradient_flow.claims import SPECTRA
from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.networks.two_layer.minima import hessian_eigenvalues, squared_loss
from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise
from symjax import curvature


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


SCALES = (0.9,)


@pytest.fixture(scope="module")
def trained():
    """The authors' draws at full length, two activations, one scale."""
    with jax.enable_x64(True):
        config = FiguresConfig(figure="9", seeds=1)
        return {name: spectra.spectra(name, config, SCALES) for name in ("linear", "tanh")}


@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_authors_numbers(trained, name):
    """To the digits in which they are known."""
    run = trained[name]
    for j, scale in enumerate(SCALES):
        charge, largest, trace = SPECTRA[name][spectra.SCALES.index(scale)]
        np.testing.assert_allclose(run.charge[0, j], charge, rtol=5e-3)
        np.testing.assert_allclose(run.eigenvalues[0, j, 0], largest, rtol=3e-3)
        np.testing.assert_allclose(run.eigenvalues[0, j].sum(), trace, rtol=6e-4)


@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_fifty_positive_eigenvalues_at_zero_loss(trained, name):
    run = trained[name]
    assert (run.loss < 1e-20).all() and run.eigenvalues.shape == (1, 1, 750)
    assert (run.eigenvalues[..., 49] > 1).all()
    np.testing.assert_allclose(run.eigenvalues[..., 50:], 0, atol=1e-10)
    np.testing.assert_array_equal(spectra.miscount(run), [0])


def test_linear_closed_form(trained):
    """Sums of NumPy's eigenvalues of the two Gram matrices, to 1e-10."""
    run = trained["linear"]
    for u, v, values in zip(run.output[0], run.input[0], run.eigenvalues[0], strict=True):
        sums = np.linalg.eigvalsh(u @ u.T)[:, None] + np.linalg.eigvalsh(v @ v.T)[None]
        np.testing.assert_allclose(values[:50], np.sort(2 * sums.ravel())[::-1], rtol=1e-10)


def test_generators_lie_in_the_kernel_at_the_minimum_only(trained):
    """H (M theta) = 0 for every neuron's scaling M at zero loss; not where training starts."""
    run, start = trained["linear"], draw_elementwise(0, 0.9, "authors", "tall")
    end = Start(start.target, run.output[0, 0], run.input[0, 0])
    neurons = np.eye(50)[:, None]
    sizes = []
    for place in (end, start):
        params, target = tuple(map(jnp.asarray, place[1:])), jnp.asarray(place.target)
        product = jax.jit(jax.vmap(curvature.hvp(squared_loss("linear"), params, target)))
        moved = product((neurons * place.output, -neurons * place.input))
        sizes.append(max(float(jnp.abs(leaf).max()) for leaf in moved))
    assert sizes[0] < 1e-12 and sizes[1] > 1


def test_hessian_eigenvalues_by_finite_differences():
    """A small sigmoid network away from the minimum, central differences of the loss by NumPy."""
    generator = np.random.default_rng(0)
    target, u, v = (generator.normal(size=shape) for shape in ((3, 2), (3, 4), (2, 4)))

    def loss(q):
        hidden = 1 / (1 + np.exp(-q[12:].reshape(2, 4)))
        return ((q[:12].reshape(3, 4) @ hidden.T - target) ** 2).sum()

    q, e, eps = np.concatenate([u.ravel(), v.ravel()]), np.eye(20), 1e-4
    differences = np.array(
        [
            [
                loss(q + eps * (a + b)) - loss(q + eps * (a - b)) - loss(q - eps * (a - b)) + loss(q - eps * (a + b))
                for b in e
            ]
            for a in e
        ]
    ) / (4 * eps**2)
    values = hessian_eigenvalues(Start(target[None], u[None], v[None]), "sigmoid")
    np.testing.assert_allclose(values[0], np.linalg.eigvalsh(differences)[::-1], atol=1e-6)
    assert values[0, -1] < -0.01  # away from a minimum there are negative ones


def synthetic(name, seeds=4):
    """Spectra that say what the paper says, 50 positive eigenvalues each; linear ones with their own weights."""
    generator = np.random.default_rng(1)
    reference = np.asarray(SPECTRA[name])
    eigenvalues, outputs, inputs = np.zeros((seeds, 4, 750)), [], []
    for i in range(seeds):
        for j, (_, largest, trace) in enumerate(reference):
            u, v = generator.normal(size=(10, 50)), generator.normal(size=(5, 50))
            if name == "linear":
                scale = np.sqrt(largest / 2 / (np.linalg.norm(u, 2) ** 2 + np.linalg.norm(v, 2) ** 2))
                u, v = scale * u, scale * v
                sums = np.linalg.eigvalsh(u @ u.T)[:, None] + np.linalg.eigvalsh(v @ v.T)
                eigenvalues[i, j, :50] = np.sort(2 * sums.ravel())[::-1]
            elif name == "sigmoid":
                eigenvalues[i, j, :10] = largest
                eigenvalues[i, j, 10:50] = (trace - 10 * largest) / 40
            else:
                eigenvalues[i, j, :50] = np.linspace(largest, 2 * trace / 50 - largest, 50).clip(1)
            outputs.append(u)
            inputs.append(v)
    charge = np.broadcast_to(reference[:, 0], (seeds, 4)).copy()
    weights = (np.reshape(outputs, (seeds, 4, 10, 50)), np.reshape(inputs, (seeds, 4, 5, 50)))
    return spectra.Spectra(charge, np.full((seeds, 4), 1e-12), eigenvalues, *weights)


CONFIG = FiguresConfig(figure="9", seeds=4)


def test_claims_hold_for_what_the_paper_says_and_fail_for_the_opposite(tmp_path, monkeypatch, carried_out, setting):
    found = {name: synthetic(name) for name in spectra.ACTIVATIONS}
    monkeypatch.setattr(spectra, "spectra", lambda name, config: found[name])
    claims = carried_out(spectra.EXPERIMENT, CONFIG, tmp_path / "right", "figure_9")
    verdicts = {claim.claim: claim.verdict for claim in claims}
    single = [claim for claim in claims if claim.seeds == 1]
    assert len(single) == 4 and all(claim.kind == "law" and claim.count == 12 for claim in single)
    assert all(verdict == "holds" for claim, verdict in verdicts.items() if "authors" not in claim), verdicts
    assert (tmp_path / "right" / "figure_9.png").stat().st_size < 200_000
    rows = [json.loads(line) for line in (tmp_path / "right" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4 * 4 * 4 and rows[0]["positive"] == 50 and "reference" in rows[0]

    for run in found.values():  # scales in reverse, a positive eigenvalue too few, Q that follows sharpness
        run.eigenvalues[...] = run.eigenvalues[:, ::-1].copy()
        run.eigenvalues[..., 49] = 0
    found["tanh"].charge[...] = -found["tanh"].eigenvalues[..., 0]
    wrong = {claim.claim: claim.verdict for claim in spectra.judge(found, CONFIG, setting)}
    assert {claim for claim, verdict in wrong.items() if verdict == "holds"} == {
        claim for claim in wrong if claim.startswith("sigmoid: the ten largest")
    }


def test_loss_that_is_not_zero_leaves_the_count_undecided(setting):
    found = {name: synthetic(name) for name in spectra.ACTIVATIONS}
    found["relu"].loss[0, 1] = 1e-3
    assert np.isnan(spectra.miscount(found["relu"])[0]) and spectra.miscount(found["relu"])[1] == 0
    claims = spectra.judge(found, CONFIG, setting)
    assert [claim.verdict for claim in claims if claim.claim.startswith("relu: m n")] == ["undecided"]


def test_deviation_from_the_authors_numbers():
    run = synthetic("sigmoid")
    assert spectra.deviation(run, "sigmoid") < 1e-12
    run.eigenvalues[0, 2, 0] *= 1.02
    assert abs(spectra.deviation(run, "sigmoid") - 0.02) < 1e-12
