"""The tensorflow-datasets builders; importing them costs a second, so only preparation does."""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from papers.common.data.members import Members
from papers.common.data.recipe import Recipe


class ImageRecords(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Keep published images and labels as array_record files, in their published order, without TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, recipe: Recipe, members: Members | None, data_dir: Path):
        self._recipe, self._members = recipe, members
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _image_feature(self) -> tfds.features.FeatureConnector:
        if self._recipe.encoding == "jpeg":
            return tfds.features.Image(shape=self._recipe.shape, encoding_format="jpeg")
        return tfds.features.Tensor(shape=(), dtype=np.object_)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self._recipe.name} as published.",
            homepage=self._recipe.archive.url,
            features=tfds.features.FeaturesDict(
                {
                    "member": tfds.features.Text(),
                    "image": self._image_feature(),
                    "label": tfds.features.ClassLabel(num_classes=self._recipe.classes),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # the source is found and verified before, with messages of its own
        return {split: self._generate_examples(split) for split in self._recipe.counts}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for index, example in enumerate(self._recipe.examples(self._members, split)):
            yield index, example._asdict()


def write_records(recipe: Recipe, members: Members, directory: Path) -> None:
    """Prepare array_record files in a directory."""
    with _quiet():
        ImageRecords(recipe=recipe, members=members, data_dir=directory).download_and_prepare()
    with contextlib.suppress(OSError):
        (directory / "downloads").rmdir()  # made, though nothing is downloaded into it


def read_records(recipe: Recipe, directory: Path, split: str) -> Iterator[dict]:
    """Yield {"member", "image", "label"} of a split, the image as published bytes.

    Raises:
        ValueError: another number of records than expected.
    """
    with _quiet():
        builder = ImageRecords(recipe=recipe, members=None, data_dir=directory)
        source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    if len(source) != recipe.counts[split]:
        raise ValueError(f"{directory} holds {len(source):,} {split} records, expected {recipe.counts[split]:,}")
    return (source[index] for index in range(len(source)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # tensorflow-datasets prints and draws bars on its own; the preparation reports one line itself.
    tfds.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
