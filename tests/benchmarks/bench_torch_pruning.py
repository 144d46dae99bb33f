"""Classes of interchangeable units beside the groups of Torch-Pruning's dependency graph, on the same architectures.

    pip install -e ".[zoo]" torch torchvision torch-pruning
    python tests/benchmarks/bench_torch_pruning.py [NAME ...]

Both sides analyse an architecture that torchvision and keras.applications have under one name, with ten classes, and
each as its own library writes it. The groups leave out that of the last layer, whose outputs are the model's; what is
pruned together is what is permuted together, so that the numbers should agree wherever the two libraries build the same
network. Seconds are of CPU, without building the model, with one thread: `DependencyGraph.build_dependency` and all
groups; `symmetries` from shapes, `jax.make_jaxpr` and everything besides permutations included. A failure is the last
line of the traceback.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from alternating import one_core

MODELS = {
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "DenseNet121": "densenet121",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3_small",
    "MobileNetV3Large": "mobilenet_v3_large",
    "EfficientNetB0": "efficientnet_b0",
    "EfficientNetV2S": "efficientnet_v2_s",
    "ConvNeXtTiny": "convnext_tiny",
    "InceptionV3": "inception_v3",
}
SIDE = 96  # pixels


def torch_groups(name: str) -> dict[str, Any]:
    """Groups of a torchvision model."""
    import torch
    import torch_pruning
    import torchvision

    torch.set_num_threads(1)
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **options).eval()
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    x = torch.randn(1, 3, SIDE, SIDE)
    started = time.process_time()
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x)
    kinds = [torch.nn.Conv2d, torch.nn.Linear]
    groups = list(graph.get_all_groups(ignored_layers=[last], root_module_types=kinds))
    versions = f"torch-pruning {torch_pruning.__version__}, torchvision {torchvision.__version__}"
    return {"groups": len(groups), "seconds": time.process_time() - started, "versions": versions}


def keras_classes(name: str) -> dict[str, Any]:
    """Classes of an architecture of keras.applications."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    from symjax.tracing import symmetries

    options = {"weights": None, "classes": 10, "classifier_activation": None, "input_shape": (SIDE, SIDE, 3)}
    model = getattr(keras.applications, name)(**options)
    parts = model.trainable_variables, model.non_trainable_variables
    variables = [[jax.ShapeDtypeStruct(tuple(one.shape), one.dtype) for one in part] for part in parts]
    x = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), "float32")
    started = time.process_time()
    found = symmetries(lambda v, x: model.stateless_call(*v, x, training=False)[0], variables, x)
    return {
        "groups": len(found.permutations),
        "seconds": time.process_time() - started,
        "dimension": found.dimension,
        "versions": f"keras {keras.__version__}, jax {jax.__version__}",
    }


def side(function: str, name: str) -> dict[str, Any]:
    """One analysis in a process of its own; a failure in words."""
    command = [sys.executable, __file__, "--one", function, name]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return {"failure": run.stderr.strip().splitlines()[-1][:100]}
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--one", choices=("torch", "keras"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    one_core()
    if given.one:
        analyse = {"torch": torch_groups, "keras": keras_classes}[given.one]
        print(json.dumps(analyse(*given.names)))
        return
    print(
        "| architecture | torch-pruning: groups | s | symjax: classes | continuous dimensions | s |\n"
        + "|---" * 6
        + "|"
    )
    versions: dict[str, None] = {}
    for name in given.names:
        peer, own = side("torch", MODELS[name]), side("keras", name)
        cells = [name]
        for row, counts in ((peer, ("groups",)), (own, ("groups", "dimension"))):
            if "failure" in row:
                cells += [f"failed: {row['failure']}", *([""] * len(counts))]
            else:
                versions[row["versions"]] = None
                cells += [*(f"{row[count]:,}" for count in counts), f"{row['seconds']:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    print("; ".join(versions))


if __name__ == "__main__":
    main()
