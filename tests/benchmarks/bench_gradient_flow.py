"""Training the two-layer networks of Figures 3, 6 and 7, against an eager PyTorch loop of the authors' kind.

    python tests/benchmarks/bench_gradient_flow.py [steps|figures|all]

``steps``: CPU time (``time.process_time``) of a step of a network of Figure 6 (m = 5, n = 10, hidden 50), one core,
single-threaded, both sides alternating, median of seven rounds after compilation. The PyTorch loop is a module, an SGD
optimiser and a recorded loss and Q at every step, in float32 as the authors have it; needs torch. ``figures``: wall
time of Figures 3, 6 and 7 at full length in float64 (28 runs of the authors' draw, 16 million steps), one process,
compilation included, nothing cached, on all cores of the process.
"""

import os
import sys

from alternating import one_core

if __name__ == "__main__" and "figures" not in sys.argv[1:]:
    one_core()

import statistics
import subprocess
import time
from collections.abc import Callable

import jax
import numpy as np

from papers.gradient_flow import figure_3_drift, figure_6_convergence, figure_7_radial_convergence
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.descent import STEPS as ACTIVATIONS
from papers.gradient_flow.networks.two_layer.descent import Job, train, train_all
from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise, stack

jax.config.update("jax_enable_x64", True)

ROUNDS = 7
STEPS = 20_000
EAGER_STEPS = 1_000
GOALS = {  # times less CPU time a step and run than the PyTorch loop
    ("float32", 1, 1): 100,
    ("float32", 10, 1): 180,
    ("float64", 1, 1): 50,
    ("float64", 10, 1): 90,
    ("float32", 1, 128): 110,
    ("float32", 10, 128): 110,
}
SECONDS_OF_FIGURES = 90


def eager(activation: str) -> Callable[[], float]:
    """Prepare the PyTorch loop; the function returned runs it and gives seconds a step."""
    import torch

    torch.set_num_threads(1)
    start = draw_elementwise(0, 0.1, "authors")
    sigma = {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[activation]
    primitive = {
        "linear": lambda v: torch.trace(v.T @ v),
        "relu": lambda v: torch.sum(torch.relu(v) ** 2),
        "tanh": lambda v: torch.sum(torch.cosh(v) ** 2),
        "sigmoid": lambda v: 2 * torch.sum(v + torch.exp(v)),
    }[activation]

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u = torch.nn.Parameter(torch.tensor(start.output, dtype=torch.float32))
            self.v = torch.nn.Parameter(torch.tensor(start.input, dtype=torch.float32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.u @ sigma(self.v.T @ x)

    target, x = torch.tensor(start.target, dtype=torch.float32), torch.eye(10)
    network, criterion = Network(), torch.nn.MSELoss()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)

    def loop() -> float:
        losses, charges = [], []
        began = time.process_time()
        for _ in range(EAGER_STEPS):
            optimiser.zero_grad()
            prediction = network(x)
            criterion(prediction, target).backward()
            optimiser.step()
            with torch.no_grad():
                losses.append(torch.linalg.norm(prediction - target).item())
                charges.append((torch.trace(network.u.T @ network.u) - primitive(network.v)).item())
        return (time.process_time() - began) / EAGER_STEPS

    return loop


def compiled(activation: str, dtype: str, every: int, runs: int) -> Callable[[], float]:
    """Prepare the compiled training; the function returned runs it and gives seconds a step and run."""
    starts = stack([draw_elementwise(seed, 0.1, "authors") for seed in range(runs)])
    length = STEPS if runs == 1 else STEPS // 20
    start = Start(*(leaf.astype(dtype) for leaf in starts))
    job = Job(activation, start, np.full(runs, 1e-3), np.arange(0, length + 1, every))

    def loop() -> float:
        began = time.process_time()
        train(job, workers=1)
        return (time.process_time() - began) / length / runs

    loop()
    return loop


def compare_steps() -> None:
    """Print the table of a step's cost."""
    missed = 0
    for activation in ("linear", "relu", "tanh", "sigmoid"):
        sides = {"eager": eager(activation), **{key: compiled(activation, *key) for key in GOALS}}
        seconds: dict[object, list[float]] = {key: [] for key in sides}
        for _ in range(ROUNDS):
            for key, loop in sides.items():
                seconds[key].append(loop())
        middle = {key: 1e6 * statistics.median(values) for key, values in seconds.items()}
        print(f"{activation}: PyTorch, float32, recorded at every step: {middle['eager']:.1f} us a step")
        for key, goal in GOALS.items():
            ratio = middle["eager"] / middle[key]
            missed += ratio < goal
            dtype, every, runs = key
            words = f"{dtype}, recorded every {every}, {runs} together"
            verdict = "reached" if ratio >= goal else "MISSED"
            print(f"  {words:40s} {middle[key]:6.2f} us  {ratio:5.0f} times less  goal {goal}: {verdict}", flush=True)
    print(f"{missed} goals missed")


def time_figures() -> None:
    """Print the time of the 28 runs at full length."""
    began, cpu = time.perf_counter(), time.process_time()
    config = ExperimentConfig(seeds=1)
    jobs = [
        experiment.job(name, config) for experiment in (figure_3_drift, figure_6_convergence) for name in ACTIVATIONS
    ]
    jobs += [figure_7_radial_convergence.job("row_radial", config)]
    results = train_all(jobs)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    steps = sum(len(job.learning_rates) * int(job.steps[-1]) for job in jobs)
    runs = sum(len(job.learning_rates) for job in jobs)
    finite = all(curves.finite.all() for curves in results)
    verdict = "reached" if wall <= SECONDS_OF_FIGURES else "MISSED"
    print(
        f"figures 3, 6 and 7: {runs} runs, {steps:,} steps, all finite {finite}: {wall:.1f} s wall, {cpu:.1f} s CPU on "
        f"{len(os.sched_getaffinity(0))} cores; goal {SECONDS_OF_FIGURES} s: {verdict}"
    )


def main(which: str) -> None:
    """Print what was asked for."""
    if which != "figures":
        print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
        compare_steps()
    else:
        time_figures()
    if which == "all":  # with all cores, in a process that has compiled nothing
        subprocess.run([sys.executable, __file__, "figures"], check=True, preexec_fn=_all_cores)


def _all_cores() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "all")
