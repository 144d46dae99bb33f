"""The CIFAR-10 network of Figures 10 and 11: its training, and the ensembles made of it."""
