"""Tanaka & Kunin 2021, "Noether's Learning Dynamics: Role of Symmetry Breaking in Neural Networks"."""
