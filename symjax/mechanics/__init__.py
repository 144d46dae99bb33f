"""Mechanics of learning: exact discrete laws, their continuous limits, closed forms and Lagrangians."""

from symjax.mechanics import discrete as discrete
