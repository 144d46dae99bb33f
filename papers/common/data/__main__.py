"""Prepare a data set and do nothing else: python -m papers.common.data --dataset tiny_imagenet --data-dir DIR."""

import dataclasses
import shlex
from pathlib import Path

from papers.common.cli import check_count, main
from papers.common.data import Name, load
from papers.common.data.folder import LARGEST_SIDE
from papers.common.data.outline import SMALLEST
from papers.common.flags import say_next


@dataclasses.dataclass(frozen=True)
class Config:
    """Prepare a data set, or check every byte of a prepared one and prepare it again when it is damaged."""

    dataset: Name
    """Which one; digits need no preparation."""

    data_dir: Path | None = None
    """Directory with the published archive or its unpacked folder, downloaded by default; for folder, the folder."""

    size: int | None = None
    """Side of the images in pixels; the set's own by default."""

    cache_dir: Path | None = None
    """Where the prepared images go; by default $SYMJAX_PAPERS_CACHE or ~/.cache/symjax-papers."""

    def validate(self) -> None:
        """Refuse a size that no set has."""
        if self.size is not None:
            check_count("size", self.size, SMALLEST, LARGEST_SIDE)


def entry(config: Config) -> None:
    """Prepare, check and say what there is."""
    dataset = load(config.dataset, size=config.size, data_dir=config.data_dir, cache_dir=config.cache_dir)
    for split, (images, _) in (("train", dataset.train), ("test", dataset.test)):
        shown = f"{len(images):,} images of {images.shape[1]} x {images.shape[2]} in {dataset.classes} classes"
        print(f"{dataset.name} {split}: {shown}")
    given = {"--data-dir": config.data_dir, "--size": config.size, "--cache-dir": config.cache_dir}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    say_next("train on it", f"python -m papers.noether.train --data {config.dataset} {shlex.join(options)}".strip())


if __name__ == "__main__":
    main(entry, Config, "python -m papers.common.data")
