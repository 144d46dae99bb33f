"""Mechanics of learning: exact discrete laws, their continuous limits, closed forms and Lagrangians."""

from symjax.mechanics import adaptive as adaptive
from symjax.mechanics import closed_forms as closed_forms
from symjax.mechanics import discrete as discrete
from symjax.mechanics import lagrangian as lagrangian
from symjax.mechanics import laws as laws
from symjax.mechanics import modified_ode as modified_ode
from symjax.mechanics import noether_theorem as noether_theorem
