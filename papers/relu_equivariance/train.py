"""Train the paper's networks: ``python -m papers.relu_equivariance.train --kind cnn_aug``.

Without options it trains one VGG11 of width 1/8 on scikit-learn's digits and their mirror images, in minutes on two CPU
cores. Each seed's network has a folder of its own, a run that ``papers.common.runs.load`` opens in one line; beside
them ``summary.json`` counts those that failed.
"""

from papers.common.cli import main
from papers.common.flags import say_next
from papers.relu_equivariance.networks.config import TrainConfig
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.networks.presets import presets

PROG = "python -m papers.relu_equivariance.train"


def entry(config: TrainConfig) -> None:
    """Train every seed's network, and count those that failed."""
    from papers.common.runs import RunDirectory

    config = RunDirectory.take_up(config)
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    from papers.common import data
    from papers.common.environment import command_line
    from papers.relu_equivariance.networks.run import train_all

    dataset, command = config.load(config.batch_size), command_line("papers.relu_equivariance.train")
    print(describe(config, len(dataset.train.labels)), flush=True)
    with RunDirectory.open(config, command, data.fingerprint(dataset)) as directory:
        if directory.resumed:
            directory.restore_metrics()  # those of finished networks are read and written down again
        rows = train_all(config, directory.path, command, directory.again)
        for row in rows:
            directory.append(row)
        failed = [row["seed"] for row in rows if not row["learnt"]]
        directory.write_json("summary", {"networks": rows, "failed": failed})
        directory.finish()
    for row in rows:
        print(f"seed {row['seed']}: " + (row["failed"] if "failed" in row else tell(row)))
    if failed:
        print(f"{len(failed)} of {len(rows)} networks did not learn: seeds {' '.join(map(str, failed))}")
    print(f"the networks are in {directory.path}")
    place = f" --data-dir {config.data_dir}" if config.data_dir else ""
    if len(failed) < len(rows):
        say_next("merge them", f"python -m papers.relu_equivariance.merge --networks {directory.path}{place}")


def tell(row: dict) -> str:
    """The numbers of a network in a line."""
    errors = f"invariance error {row['invariance_error']:.3g} ({row['centred_invariance_error']:.3g} of centred logits)"
    return f"test accuracy {row['test_accuracy']:.4f}, {errors}"


def describe(config: TrainConfig, images: int) -> str:
    """Say in a line what will run."""
    loss = f", invariance loss x {config.invariance_weight:g}" if KINDS[config.kind].invariance != "never" else ""
    return (
        f"{KINDS[config.kind].words}: VGG11 without BatchNorm, width {config.width:g}, {images} images, {config.data}, "
        f"{config.epochs} epochs of batch {config.batch_size}, peak rate {config.learning_rate:g}{loss}, "
        f"{config.seeds} seed{'s' if config.seeds > 1 else ''} from {config.seed}"
    )


if __name__ == "__main__":
    main(entry, TrainConfig, PROG, presets=presets(TrainConfig))
