"""Prepare a data set and do nothing else: python -m papers.common.data --dataset tiny_imagenet --data-dir DIR."""

import dataclasses
from pathlib import Path

from papers.common.cli import main
from papers.common.data import Name, load, prepared


@dataclasses.dataclass(frozen=True)
class Config:
    """Prepare a data set, or check every byte of a prepared one and prepare it again when it is damaged."""

    dataset: Name
    """Which one; digits need no preparation."""

    data_dir: Path | None = None
    """Directory with the published archive or its unpacked folder; downloaded by default."""

    cache_dir: Path | None = None
    """Where the prepared images go; by default $SYMJAX_PAPERS_CACHE or ~/.cache/symjax-papers."""


def entry(config: Config) -> None:
    """Prepare, check and say what there is."""
    if config.dataset != "digits":
        prepared(config.dataset, config.data_dir, config.cache_dir, check=True)
    dataset = load(config.dataset, data_dir=config.data_dir, cache_dir=config.cache_dir)
    for split, (images, _) in (("train", dataset.train), ("test", dataset.test)):
        print(f"{dataset.name} {split}: {len(images):,} images of {images.shape[1]} x {images.shape[2]}")


if __name__ == "__main__":
    main(entry, Config, "python -m papers.common.data")
