"""Networks of the registry, small: their symmetries are found from the program, and the laws predict every charge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from papers.common.models import MODELS, ResNet18, initialise
from papers.common.training import step_schedule
from papers.noether import train
from papers.noether.networks import charges
from papers.noether.networks.config import TrainConfig

SIDE, CLASSES, BATCH = 8, 3, 8
SMALL = {
    "resnet18": ResNet18(CLASSES, 1 / 16, "group", stages=((64, 1),)),
    "resnet18-bn": ResNet18(CLASSES, 1 / 16, "batch", stages=((64, 1),)),
}


SLOW = {"resnet18"}  # another program to compile each


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in SMALL])
def test_two_steps_follow_the_laws_of_what_is_traced(name):
    model = SMALL[name]
    assert type(MODELS[name](CLASSES, 1 / 16, jnp.float32)) is type(model)
    variables = initialise(model, 0, (SIDE, SIDE, 3))
    stats, images = variables.get("batch_stats", {}), jax.random.normal(jax.random.key(0), (BATCH, SIDE, SIDE, 3))

    def apply(params, images):
        return model.apply({"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"])[0]

    found = charges.traced(apply, variables["params"], images)
    rule = charges.Rule(step_schedule(0.1), 0.9, 1e-3, False)
    optimiser = rule.watched(found)

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(
            apply(params, images), jnp.arange(BATCH) % CLASSES
        ).mean()

    @jax.jit
    def two(params):
        state = optimiser.init(params)
        first = state.charges.measured
        for _ in range(2):
            updates, state = optimiser.update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
        return first, state.charges

    first, seen = two(jax.tree.map(jnp.asarray, variables["params"]))
    for family, errors in seen.error.items():
        assert max(float(jnp.max(one)) for one in errors.values()) < 1e-5, family
        moved = [np.max(np.abs(one - first[family][name])) for name, one in seen.measured[family].items()]
        assert max(moved) > 1e-5, family  # nothing is predicted by standing still
    assert set(found.layers) == {"scaling", "translation"}
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
        (
            ["--model", "resnet18", "--filter-norm", "fixed"],
            "--filter-norm is fixed, but must be left out with --model resnet18",
        ),
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
        assert max(arrays[f"{family}_worst"].max() for family in ("scaling", "translation")) < 1e-4
        assert arrays["scaling_layer"].shape == arrays["scaling_measured"].shape[1:]
