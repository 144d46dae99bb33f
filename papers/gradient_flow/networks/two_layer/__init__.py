"""Two-layer networks of Figures 3, 6, 7 and 9: where they start, how they descend, and their minima."""
