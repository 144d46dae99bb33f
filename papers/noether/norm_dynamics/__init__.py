"""Norm dynamics: predicted and measured norms of one run, which ``papers.noether.networks`` makes and measures."""
