"""Driving: every image once an epoch, reports in order, the same bits after a stop, NaN noticed, evaluation exact."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.errors import Divergence
from papers.common.models import MLP, initialise
from papers.common.training import (
    Data,
    Stream,
    TrainState,
    evaluate,
    fit,
    sgd,
    start,
    step_schedule,
    steps_per_epoch,
    training_step,
)
from papers.common.training.fit import epoch_order

IMAGES, BATCH, CLASSES = 22, 5, 7  # four full batches and one of two
PER_EPOCH = 5


def normalise(raw):
    return raw.astype(jnp.float32) / 255 - 0.5


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, 4, 4, 3), np.uint8)
    return Data(jnp.asarray(images), jnp.asarray(generator.integers(0, CLASSES, IMAGES), jnp.int32))


@pytest.fixture(scope="module")
def training():
    """A step with momentum, decay, a drop and noise from the run's key, and a maker of its first state."""
    model = MLP((8, CLASSES))
    optimiser = sgd(step_schedule(0.2, (7,)), 0.9, 1e-2)
    variables = initialise(model, 0, (4, 4, 3))

    def prepare(key, raw):
        return normalise(raw) * jax.random.bernoulli(key, 0.9, raw.shape)

    def observe(steps_seen, update):
        return steps_seen + 1, update.after, {}

    step = training_step(model, optimiser, prepare, observe)
    return step, lambda: start(variables, optimiser, jax.random.PRNGKey(3), jnp.zeros((), jnp.int32))


class Book:
    """Writes down what fit hands out, in the order it comes."""

    def __init__(self):
        self.chunks, self.epochs, self.events = [], [], []

    def on_chunk(self, fetched):
        self.chunks.append(fetched)
        self.events.append(("chunk", fetched.step))

    def on_epoch(self, epoch, state):
        self.epochs.append((epoch, int(state.step)))
        self.events.append(("epoch", epoch))

    @property
    def losses(self):
        return np.concatenate([chunk.metrics["loss"] for chunk in self.chunks])


def report(state):
    return {"step": state.step, "seen": state.monitor}


def train(training, data, *, state=None, book=None, epochs=3, chunk=2, driver="loop", **options):
    step, first = training
    book = book or Book()
    state = fit(
        step,
        first() if state is None else state,
        data,
        batch_size=BATCH,
        epochs=epochs,
        seed=1,
        chunk=chunk,
        driver=driver,
        report=report,
        on_chunk=book.on_chunk,
        on_epoch=book.on_epoch,
        **options,
    )
    return state, book


def assert_same_bits(one, other):
    paths = jax.tree_util.tree_flatten_with_path(one)[0]
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, leaf), twin in zip(paths, jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(leaf, twin, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def whole(training, data):
    """Three epochs, never stopped."""
    return train(training, data)


def counting_step(state, batch):
    """No training: counts the labels, which number the images, and writes down the order."""
    _, labels = batch
    counts, order, place = state.monitor
    counts = counts.at[labels].add(1)
    order = jax.lax.dynamic_update_slice(order, labels, (place,))
    metrics = {"loss": labels.astype(jnp.float32).sum(), "accuracy": jnp.float32(len(labels))}
    return state._replace(step=state.step + 1, monitor=(counts, order, place + len(labels))), metrics


def counting_state(images, epochs):
    monitor = (jnp.zeros(images, jnp.int32), jnp.zeros(images * epochs + images, jnp.int32), jnp.zeros((), jnp.int32))
    return TrainState(jnp.zeros((), jnp.int32), {}, {}, (), jax.random.PRNGKey(0), monitor)


@pytest.mark.parametrize("driver", ["loop", "scan"])
@pytest.mark.parametrize("images", [12, 14])
def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch(driver, images):
    data = Data(jnp.zeros((images, 1, 1, 3), jnp.uint8), jnp.arange(images, dtype=jnp.int32))
    seen, sizes = [], []

    def look(epoch, state):
        seen.append(np.asarray(state.monitor[0]))

    def measure(fetched):
        sizes.extend(fetched.metrics["accuracy"].astype(int).tolist())

    state = fit(
        counting_step,
        counting_state(images, 2),
        data,
        batch_size=4,
        epochs=2,
        seed=5,
        chunk=2,
        driver=driver,
        on_chunk=measure,
        on_epoch=look,
    )
    for epoch, counts in enumerate(seen, 1):
        np.testing.assert_array_equal(counts, epoch)
    orders = np.asarray(state.monitor[1])[: 2 * images].reshape(2, images)
    for epoch in (0, 1):
        np.testing.assert_array_equal(orders[epoch], np.random.default_rng((5, epoch)).permutation(images))
    assert sizes == 2 * ([4, 4, 4] if images == 12 else [4, 4, 4, 2])
    assert steps_per_epoch(images, 4) == len(sizes) // 2


@pytest.mark.parametrize("driver", ["loop", "scan"])
def test_nothing_but_indices_travels_to_the_device_inside_a_chunk(driver, monkeypatch):
    """Every copy to the device is an explicit one, of a chunk's indices; the images were there before."""
    images = 14
    data = Data(jnp.zeros((images, 1, 1, 3), jnp.uint8), jnp.arange(images, dtype=jnp.int32))
    first, sent, put = counting_state(images, 1), [], jax.device_put

    def counted(leaf, *where):
        sent.append(leaf)
        return put(leaf, *where)

    monkeypatch.setattr(jax, "device_put", counted)
    with jax.transfer_guard_host_to_device("disallow"):
        fit(counting_step, first, data, batch_size=4, epochs=1, seed=5, chunk=2, driver=driver)
    assert sorted(np.concatenate([np.ravel(leaf) for leaf in sent])) == list(range(images))
    assert all(leaf.dtype == np.int32 for leaf in sent)


def test_the_guard_sees_an_implicit_copy():
    with jax.transfer_guard_host_to_device("disallow"), pytest.raises(Exception, match="Disallowed host-to-device"):
        jax.jit(lambda rows: rows + 1)(np.zeros(3, np.float32))


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = [epoch_order(seed, epoch, 50) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(orders[0], epoch_order(0, 0, 50))
    for order in orders:
        assert sorted(order) == list(range(50)) and order.dtype == np.int32
    assert all((one != other).any() for one, other in zip(orders, orders[1:] + orders[:1], strict=True))


def test_reports_come_complete_in_order_and_never_across_an_epoch(whole):
    state, book = whole
    assert int(state.step) == 3 * PER_EPOCH
    assert [(chunk.step, len(chunk.metrics["loss"])) for chunk in book.chunks] == [
        (PER_EPOCH * epoch + place, 1 if place == 4 else 2) for epoch in range(3) for place in (0, 2, 4)
    ]
    for chunk in book.chunks:  # the report is that of the chunk's own end, not of a later state
        assert int(chunk.report["step"]) == int(chunk.report["seen"]) == chunk.step + len(chunk.metrics["loss"])
    assert book.epochs == [(1, 5), (2, 10), (3, 15)]
    expected = []
    for epoch in range(3):
        expected += [("chunk", PER_EPOCH * epoch + place) for place in (0, 2, 4)] + [("epoch", epoch + 1)]
    assert book.events == expected


def test_metrics_are_fetched_one_chunk_late(training, data):
    """When the second chunk is under way nothing was fetched; after it, the first is there."""
    book, lags = Book(), []

    def look():
        lags.append(len(book.chunks))
        return False

    train(training, data, book=book, epochs=1, chunk=1, should_stop=look)
    assert lags[:4] == [0, 1, 2, 3] and len(book.chunks) == PER_EPOCH


@pytest.mark.slow
def test_loop_and_scan_take_the_same_path(training, data, whole):
    state, book = train(training, data, driver="scan")
    np.testing.assert_allclose(book.losses, whole[1].losses, rtol=2e-5)
    for leaf, twin in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole[0].params), strict=True):
        np.testing.assert_allclose(leaf, twin, rtol=1e-4, atol=1e-5)
    assert [chunk.step for chunk in book.chunks] == [chunk.step for chunk in whole[1].chunks]


class Streamed:
    """The resident data as a stream, which writes down what it is asked for and when it is closed."""

    def __init__(self, data):
        self.asked, self.closed = [], 0
        self.images, self.labels = np.asarray(data.images), np.asarray(data.labels)

    def batches(self, first, order, batch_size):
        self.asked.append((first, len(order)))
        try:
            for at in range(0, len(order), batch_size):
                rows = order[at : at + batch_size]
                yield self.images[rows], self.labels[rows]
        finally:
            self.closed += 1


def test_a_stream_takes_the_same_path_as_resident_data_and_is_read_through_an_epoch(training, data, whole):
    source, book = Streamed(data), Book()
    stream = Stream(source.labels, source.batches)
    stops = iter([False, True])
    state, _ = train(training, stream, book=book, should_stop=lambda: next(stops))  # after two of three chunks
    assert source.closed == 1 and int(state.step) == 4
    streamed, _ = train(training, stream, book=book, state=state)
    assert source.asked == [(0, 22), (4, 2), (5, 22), (10, 22)] and source.closed == 4
    np.testing.assert_allclose(book.losses, whole[1].losses, rtol=1e-5)
    assert int(streamed.step) == 15


def test_auto_scans_on_accelerators_and_loops_on_cpu(training, data, monkeypatch):
    module = importlib.import_module("papers.common.training.fit")  # the package's own `fit` is the function
    chosen, original = [], module._driver
    monkeypatch.setattr(module, "_driver", lambda driver, step: chosen.append(driver) or original("loop", step))
    for backend in ("cpu", "gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        train(training, data, epochs=1, driver="auto")
    assert chosen == ["loop", "scan", "scan"]


@pytest.mark.parametrize("stop_after", range(1, 10))
def test_stop_and_continue_is_never_having_stopped(training, data, whole, stop_after):
    """Nine chunks in three epochs: stopped after any of them, an epoch's last too, nothing is lost or done twice."""
    asked, book = [], Book()

    def should_stop():
        asked.append(1)
        return len(asked) >= stop_after

    state, _ = train(training, data, book=book, should_stop=should_stop)
    assert int(state.step) == [2, 4, 5, 7, 9, 10, 12, 14, 15][stop_after - 1]
    saved = jax.tree.map(lambda leaf: jnp.array(np.array(leaf)), state)
    state, _ = train(training, data, state=saved, book=book)
    assert_same_bits(state, whole[0])
    np.testing.assert_array_equal(book.losses, whole[1].losses)
    assert book.events == whole[1].events


def test_a_finished_run_has_nothing_to_do(training, data):
    state, _ = train(training, data, epochs=1)
    again, book = train(training, data, state=state, epochs=1)
    assert int(again.step) == PER_EPOCH and book.events == []


@pytest.mark.parametrize(("bad", "last"), [(0, None), (1, 0), (2, 1), (7, 6)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_the_step_and_the_last_finite_loss(bad, last, value):
    data = Data(jnp.zeros((20, 1, 1, 3), jnp.uint8), jnp.arange(20, dtype=jnp.int32))

    def step(state, batch):
        loss = jnp.where(state.step >= bad, value, 1.5 + state.step)
        return state._replace(step=state.step + 1), {"loss": loss, "accuracy": loss}

    book = Book()
    with pytest.raises(Divergence) as caught:
        fit(
            step,
            counting_state(20, 1),
            data,
            batch_size=4,
            epochs=2,
            seed=0,
            chunk=2,
            on_chunk=book.on_chunk,
            on_epoch=book.on_epoch,
        )
    sentence = str(caught.value)
    assert f"became {value} at step {bad} " in sentence and "--learning-rate" in sentence
    expected = "no finite loss before it" if last is None else f"last finite loss {1.5 + last:.4g}"
    assert expected in sentence and "\n" not in sentence
    assert all(np.isfinite(chunk.metrics["loss"]).all() for chunk in book.chunks)
    assert book.epochs == ([(1, 5)] if bad > 5 else [])  # no epoch ends on an unchecked loss


class Table:
    """A model whose logits are looked up: image i (its first pixel) has row i."""

    def __init__(self, logits):
        self.logits = jnp.asarray(logits, jnp.float32)

    def apply(self, variables, images, train):
        assert train is False
        return self.logits[images[:, 0, 0, 0]] + variables["params"]


def evaluate_table(logits, labels, batch_size):
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    state = counting_state(1, 1)._replace(params=jnp.zeros(()))
    data = Data(jnp.asarray(images), jnp.asarray(labels, jnp.int32))
    with jax.numpy_rank_promotion("allow"):
        return evaluate(Table(logits), lambda raw: raw, batch_size)(state, data)


@pytest.mark.parametrize("images", [1, 3, 8, 9, 15])
def test_evaluation_pads_the_last_batch_with_nothing(images):
    generator = np.random.default_rng(images)
    logits = generator.normal(size=(images, 9)) * 3
    labels = generator.integers(0, 9, images)
    found = evaluate_table(logits, labels, 4)
    wide = logits.astype(np.float32).astype(np.float64)
    own = wide[np.arange(images), labels]
    place = (-wide).argsort(1).argsort(1)[np.arange(images), labels]
    assert found["loss"] == pytest.approx(np.mean(np.log(np.exp(wide).sum(1)) - own), rel=1e-6)
    assert found["top1"] == pytest.approx(np.mean(place < 1), abs=1e-7)
    assert found["top5"] == pytest.approx(np.mean(place < 5), abs=1e-7)


def test_equal_or_nan_logits_are_not_right_by_default():
    labels = np.arange(8) % 8
    equal = evaluate_table(np.zeros((8, 8)), labels, 4)
    assert equal["top1"] == pytest.approx(1 / 8) and equal["top5"] == pytest.approx(5 / 8)
    nothing = evaluate_table(np.full((8, 8), np.nan), labels, 4)
    assert nothing["top1"] == nothing["top5"] == 0 and math.isnan(nothing["loss"])


def test_evaluation_of_a_model_leaves_the_state_alone(training, data):
    _, first = training
    state = first()
    before = jax.tree.map(np.array, state)
    found = evaluate(MLP((8, CLASSES)), normalise, 6)(state, data)
    assert_same_bits(state, before)
    hidden = np.maximum(np.asarray(normalise(data.images)).reshape(IMAGES, -1) @ before.params["dense1"]["kernel"], 0)
    logits = (hidden @ before.params["dense2"]["kernel"]).astype(np.float64)  # the biases are zero at the start
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(IMAGES), data.labels]
    assert found["loss"] == pytest.approx(loss.mean(), rel=1e-5)
    assert found["top1"] == pytest.approx((logits.argmax(1) == np.asarray(data.labels)).mean(), abs=1e-6)


@pytest.mark.parametrize("driver", ["loop", "scan"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)])
def test_a_metric_of_any_shape_has_one_entry_for_each_step(driver, chunk, shape):
    """The same under both drivers: (steps, *shape), in the order of the steps."""

    def step(state, batch):
        metrics = {"loss": jnp.float32(0), "accuracy": jnp.float32(0), "rows": jnp.full(shape, state.step)}
        return state._replace(step=state.step + 1), metrics

    data, found = Data(jnp.zeros((14, 1, 1, 3), jnp.uint8), jnp.arange(14, dtype=jnp.int32)), []
    fit(
        step,
        counting_state(14, 1),
        data,
        batch_size=4,
        epochs=1,
        seed=0,
        chunk=chunk,
        driver=driver,
        on_chunk=lambda fetched: found.append((fetched.step, fetched.metrics["rows"])),
    )
    joined = np.concatenate([rows for _, rows in found])
    assert all(rows.shape[1:] == shape for _, rows in found) and found[0][0] == 0
    np.testing.assert_array_equal(joined, np.broadcast_to(np.arange(4).reshape(4, *[1] * len(shape)), (4, *shape)))
