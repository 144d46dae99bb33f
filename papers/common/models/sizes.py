"""Sizes that are known before a model is built: nothing heavy is imported, so that a command line can read them."""

# VGG11: (features, whether a max pool follows) of the eight convolutions; the width of its hidden dense layers
CONVOLUTIONS = (
    *((64, True), (128, True), (256, False), (256, True)),
    *((512, False), (512, True), (512, False), (512, True)),
)
HIDDEN = 1024


def scaled(features: int, width: float) -> int:
    """Return a layer's number of features under a width multiplier, at least 1.

    >>> scaled(64, 0.25), scaled(2, 0.1)
    (16, 1)
    """
    return max(1, round(features * width))
