"""Zhao, Ganev, Walters, Yu, Dehmamy 2023: symmetries, flat minima, and the conserved quantities of gradient flow."""
