"""A pretrained ResNet-50 and its mirror image: the photographs, the table, the whole command on a narrow network."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from papers.common.claims import Setting
from papers.common.errors import UserError
from papers.common.models import MLP, ResNet50, initialise
from papers.common.models.pretrained import PREPARATIONS
from papers.common.models.resnet50 import keras_names
from papers.relu_equivariance.claims import RESNET_50
from papers.relu_equivariance.resnet50 import ResNet50Config, entry
from papers.relu_equivariance.resnet_50.judge import GROUPS, judge
from papers.relu_equivariance.resnet_50.measure import CORRECTIONS, WAYS, AtSize, Measured, matched
from papers.relu_equivariance.resnet_50.photographs import choose, class_numbers, prepare
from papers.relu_equivariance.resnet_50.table import markdown, rows
from symjax.tracing import symmetries

SETTING = Setting("", "", "command", {"device": "cpu", "versions": {}, "commit": None})


def photographs(root: Path, classes: int, each: int, size: int = 40) -> Path:
    random = np.random.default_rng(len(root.name))
    for label in range(classes):
        folder = root / f"n{label:02d}"
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (size, size + 10, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def test_photographs_are_spread_over_classes_and_folders_and_never_both_evaluated_and_seen(tmp_path: Path) -> None:
    whole, part = photographs(tmp_path / "whole", 4, 3), photographs(tmp_path / "part", 2, 5)
    numbers = class_numbers((part, whole), None, 4)
    chosen = choose((part, whole), (), numbers, evaluated=4, count=8, seed=0)
    assert np.bincount(chosen.evaluated.labels[chosen.evaluated.folder == 0], minlength=4).tolist() == [2, 2, 0, 0]
    assert np.bincount(chosen.evaluated.labels[chosen.evaluated.folder == 1]).tolist() == [1, 1, 1, 1]
    assert np.bincount(chosen.seen.folder).tolist() == [4, 4]
    assert not {*chosen.evaluated.files} & {*chosen.seen.files}
    for images, seen, kinds, message in (
        ((part,), (), 4, "names? .*4 classes|no folder has a folder for each"),
        ((whole,), (whole,), 4, "both evaluated and seen"),
    ):
        with pytest.raises(UserError, match=message):
            choose(images, seen, class_numbers((*images, *seen), None, kinds), 4, 2, 0)
    with pytest.raises(UserError, match="has 12 photographs, but --evaluated asks for 13"):
        choose((whole,), (), numbers, 13, 2, 0)
    chosen.digest()  # every one can be decoded
    chosen.seen.files[-1].write_bytes(chosen.seen.files[-1].read_bytes()[:200])
    with pytest.raises(UserError, match=rf"{chosen.seen.files[-1]} is no photograph that can be read"):
        chosen.digest()


def test_what_is_no_photograph_of_eight_bits_is_named_and_grey_and_cmyk_ones_are_read(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(0, 240, 6, np.uint8)[:, None, None], (1, 40, 3))
    whole = Image.fromarray(pixels)
    whole.convert("L").save(tmp_path / "grey.jpg")
    whole.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    for name in ("grey.jpg", "cmyk.jpg"):
        seen = prepare(tmp_path / name, 40, 40, PREPARATIONS["keras"])[..., ::-1] + np.array([123.68, 116.779, 103.939])
        assert np.abs(seen - pixels).max() < 8
    Image.fromarray(np.full((40, 40), 1000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_bytes(b"no image")
    Image.new("RGB", (40_000, 1)).save(tmp_path / "narrow.png")
    (tmp_path / "folder.jpg").mkdir()
    for name, message in (
        ("deep.png", "is no photograph .*expected 8 bits"),
        ("text.png", "is no photograph"),
        ("narrow.png", "has 40000 x 1 pixels, too narrow"),
        ("folder.jpg", "cannot be read .a folder."),
        ("absent.jpg", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(tmp_path / name, 224, 224, PREPARATIONS["keras"])
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="classes.txt is no text"):
        class_numbers((tmp_path,), tmp_path / "classes.txt", 3)


def test_the_centre_reaches_the_network_in_its_channels(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 14:46] = (255, 128, 0)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    bgr = prepare(tmp_path / "one.png", 32, 40, PREPARATIONS["keras"])
    assert bgr.shape == (32, 32, 3) and np.allclose(bgr[3, 3], [0 - 103.939, 128 - 116.779, 255 - 123.68])
    rgb = prepare(tmp_path / "one.png", 32, 40, PREPARATIONS["torchvision"])
    assert np.allclose(rgb[3, 3], [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225], atol=1e-6)


def test_the_table_and_the_claims_say_what_was_measured() -> None:
    random, many = np.random.default_rng(0), 40
    right = random.random((len(WAYS), len(CORRECTIONS), many)) < 0.6
    known = np.array([[True, True, False], [True, True, True], [False] * 3])
    ends = np.stack([np.arange(many) < 32, np.arange(many) < 30])
    layers = [np.array(["stem", "conv1"]), np.array([4, 8]), np.ones(2), np.array([1.0, 0.5]), np.array([0, 1])]
    at = AtSize(np.array(224), ends, right, known, np.full(many, 0.2), np.array(0.1), np.array(1e-6), *layers)
    measured = Measured((at,), ("one", "two"), np.arange(many) % 2, ("three",), 7, "a network", False)
    found = {(row.network, row.correction): row for row in rows(measured, at)}
    assert len(found) == 7 and found["network", ""].accuracy == 0.8 and found["network", ""].published[0] == 0.8086
    merged = found["matched, all blocks", "REPAIR"]
    assert merged.barrier == pytest.approx(1 - right[1, 2].mean() / 0.775) and merged.low < merged.barrier < merged.high
    page = markdown(measured)
    assert "40 photographs of one and two" in page and "not ImageNet's validation set" in page
    assert "| this run at 224 | 0.200 | 0.800 | 0.750 |" in page and "remembered" in page
    config = ResNet50Config(weights=Path("w"), images=(Path("one"),))
    trained = judge(measured._replace(trained=True), config, SETTING)  # whose accuracy is no check of a reader
    assert len(trained) == 8 and {claim.figure for claim in trained} == {"ImageNet, trained here"}
    claims = judge(measured, config, SETTING)
    by_sentence = {claim.claim.split(":")[0]: claim for claim in claims}
    assert len(claims) == 9 and all(claim.reduced for claim in claims)
    barrier = next(claim for name, claim in by_sentence.items() if "low barrier after REPAIR" in name)
    groups = np.arange(many) % GROUPS
    own = [1 - right[1, 2, groups == g].mean() / ends[:, groups == g].mean() for g in range(GROUPS)]
    assert barrier.measured == pytest.approx(np.mean(own)) and barrier.verdict == "undecided"
    none, reset, repaired = right[1].mean(-1)
    differences = {"flip_accuracy": 0.8 - 0.75, "reset": reset - none, "repair": repaired - reset}
    for name, difference in differences.items():
        assert by_sentence[RESNET_50[name].claim.format(size=224).split(":")[0]].measured == pytest.approx(difference)


def test_activations_that_are_not_finite_are_refused_by_their_layer() -> None:
    model = MLP((4, 3))
    variables, images = initialise(model, 0, (2, 2, 3)), np.full((2, 2, 2, 3), np.nan, np.float32)
    stage = SimpleNamespace(
        **{
            "traced": symmetries(model.apply, variables, np.zeros_like(images)),
            "net": SimpleNamespace(words="a network"),
        },
        **{"chosen": SimpleNamespace(seen=None), "load": lambda seen: iter([images])},
    )
    with pytest.raises(UserError, match="a network cannot be matched: the activations of .* are not finite"):
        matched(stage, variables, variables, ("all",))


@pytest.mark.slow  # compiles a dozen programs of a network
def test_the_command_on_a_small_network_and_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(ResNet50, stages=((64, 2), (128, 1)))
    monkeypatch.setattr("papers.common.models.pretrained.ResNet50", small)
    variables = initialise(small(3, 1 / 16, "keras"), 0, (33, 33, 3))
    arrays = {}
    for module, leaves in [*variables["params"].items(), *variables["batch_stats"].items()]:
        kind = "batch_stats" if "mean" in leaves else "params"
        arrays |= {keras_names((kind, module, leaf)): array for leaf, array in leaves.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    images = photographs(tmp_path / "noise", 3, 10)
    config = ResNet50Config(
        **{"weights": tmp_path / "weights.npz", "images": (images,), "evaluated": 10, "count": 10, "sizes": (33,)},
        **{"streams": ("all",), "batch_size": 10, "out": tmp_path / "run", "cache_dir": tmp_path / "cache"},
    )
    entry(config)
    assert "10 photographs of noise" in (tmp_path / "run" / "notes.md").read_text()
    claims = {claim["claim"]: claim for claim in json.loads((tmp_path / "run" / "claims.json").read_text())}
    laws = [claim for claim in claims.values() if claim["kind"] == "law"]
    assert len(laws) == 2 and all(claim["verdict"] == "holds" for claim in laws)
