"""Networks of the registry, small: their symmetries are found from the program, and the laws predict every charge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from papers.common.models import MODELS, ResNet18, ViT, initialise
from papers.common.training import step_schedule
from papers.common.training.step import Update
from papers.noether import train
from papers.noether.networks import charges
from papers.noether.networks.config import TrainConfig

SIDE, CLASSES, BATCH = 8, 3, 8
SMALL = {
    "resnet18": ResNet18(CLASSES, 1 / 16, "group", stages=((64, 1),)),
    "resnet18-bn": ResNet18(CLASSES, 1 / 16, "batch", stages=((64, 1),)),
    "vit": ViT(CLASSES, 1 / 16, depth=1, heads=2),
}


def two_steps(name, fixed):
    """Two steps of descent under watch: the families, the first charges, those after each step, the monitor."""
    model = SMALL[name]
    assert type(MODELS[name](CLASSES, 1 / 16, jnp.float32)) is type(model)
    variables = initialise(model, 0, (SIDE, SIDE, 3))
    stats, images = variables.get("batch_stats", {}), jax.random.normal(jax.random.key(0), (BATCH, SIDE, SIDE, 3))
    found = charges.families(model, variables, (SIDE, SIDE, 3), fixed, gains=True)
    rule = charges.Rule(step_schedule(0.1), 0.9, 1e-3, fixed)
    optimiser = rule.watched(found)

    def loss(params):
        whole = {"params": params, "batch_stats": stats}
        logits = model.apply(whole, images, train=True, mutable=["batch_stats"])[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(BATCH) % CLASSES).mean()

    @jax.jit
    def step(params, state, monitor):
        gradient = jax.grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        after = optax.apply_updates(params, updates)
        update = Update(state.charges.step - 1, params, gradient, state, after)
        monitor, after, _ = charges.observe(found, rule, monitor, update)
        return after, state, monitor

    params = jax.tree.map(jnp.asarray, found.stretch(variables["params"], 2.0))
    state, monitor = jax.jit(lambda params: (optimiser.init(params), charges.start(found, params, rule)))(params)
    first = state.charges
    for _ in range(2):
        params, state, monitor = step(params, state, monitor)
    np.testing.assert_allclose(loss(params), loss(found.stretch(params, 0.5)), rtol=1e-4)  # up to epsilons
    return found, first, state.charges, monitor


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("resnet18-bn", False),
        # another program to compile each
        *(pytest.param(name, fixed, marks=pytest.mark.slow) for name in ("vit", "resnet18") for fixed in (False, True)),
    ],
)
def test_two_steps_follow_the_laws_of_what_is_traced(name, fixed):
    found, first, seen, monitor = two_steps(name, fixed)
    families = {"filter", "gain", "translation"} | ({"mixing"} if name == "vit" else set())
    # gains read filters, but those of the transformer, whose one filter is what writes to the stream
    assert set(found.layers) == families - ({"gain"} if fixed and name != "vit" else set())
    if name == "vit":  # values write to the stream, queries and keys do not
        assert set(found.symmetry.zero["mixing"]) == {"attention1/query"} | (set() if fixed else {"attention1/value"})
    for family, errors in seen.error.items():
        assert max(float(jnp.max(one)) for one in errors.values()) < 1e-5, family
        moved = [np.max(np.abs(one - first.measured[family][name])) for name, one in seen.measured[family].items()]
        assert max(moved) > 1e-5, family  # nothing is predicted by standing still
    assert max(float(jnp.max(one)) for one in monitor.worst.values()) < 1e-5
    drift = np.abs(monitor.filters.value / monitor.filters.target - 1).max()
    assert drift < 1e-6 if fixed else drift > 1e-5
    residual = max(float(jnp.max(jnp.abs(one))) for one in jax.tree.leaves(seen.residual))
    assert residual < 1e-3  # the epsilons of the normalisations, and rounding


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "resnet50"], "--model"),
        (
            ["--model", "resnet18", "--no-batch-norm"],
            "--batch-norm is False, but must be left out with --model resnet18",
        ),
        (["--no-batch-norm", "--initial-scale", "2"], "--initial-scale is 2.0, but must be left out without BatchNorm"),
    ],
)
def test_what_no_run_can_be_is_one_sentence(tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as left:
        train.main(train.entry, TrainConfig, train.PROG, argv=["--out", str(tmp_path / "run"), *options])
    told = capsys.readouterr().err
    assert left.value.code == 2 and told.count("\n") == 1 and sentence in told
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_resnet_of_width_a_sixteenth_trains(tmp_path):
    options = ["--model", "resnet18-bn", "--width", "0.0625", "--epochs", "1", "--limit", "640"]
    train.main(train.entry, TrainConfig, train.PROG, argv=["--out", str(tmp_path / "run"), *options])
    with np.load(tmp_path / "run" / "history.npz") as arrays:
        assert arrays["train_loss"][-1] < arrays["train_loss"][0]
        assert max(arrays[f"{family}_worst"].max() for family in ("filter", "gain", "translation")) < 1e-4
        assert arrays["gain_layer"].shape == arrays["gain_measured"].shape[1:]
