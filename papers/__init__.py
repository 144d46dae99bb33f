"""Reproductions of the papers, one package each, over what they share in `papers.common`."""
