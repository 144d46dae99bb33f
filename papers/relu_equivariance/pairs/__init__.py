"""One pair of networks under one protocol: a network and its mirror image, or two networks.

Both networks see training images and their mirror images, raw; channels are matched by the correlations of their
activations there, and whatever corrects a merged network takes its statistics there. Accuracies are of all test images,
one view each.

| file | what |
|---|---|
| `stage.py` | what all pairs share: the traced network, how it is mirrored, the images |
| `corrections.py` | what is done to a merged network before it is evaluated |
| `measure.py` | match, merge, correct, evaluate |
"""
