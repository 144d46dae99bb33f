"""Exact laws of the discrete update: what SGD with momentum does to `<q, M q>` and `<q, n>`.

PyTorch's rule, for a parameter q with gradient g_n of the loss at q_n,

    v_{n+1} = beta v_n + (1 - delta)(g_n + k q_n),   v_1 = g_0 + k q_0,   q_{n+1} = q_n - eta_n u_n,

with `u_n = v_{n+1}` (heavy ball) or `u_n = g_n + k q_n + beta v_{n+1}` (Nesterov), fixes the squared norm of a filter
(M = 1), the imbalance of a homogeneous unit (M = +1 on one side, -1 on the other) and the sum along a translation
without any approximation: no small step, no smooth gradient, any schedule. What enters is measured at the same step:
the square of the update, and the residual `e_n = <M q_n, g_n>`, which an exact symmetry makes zero. With M = +1 on the
incoming weights the imbalance is in minus out, as in `laws`; `closed_forms` writes its rescale force for out minus in.

Source: derived from the update; the continuous laws it replaces are Kunin et al. 2021, Neural Mechanics, and
Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 8 and 16.
"""

from symjax.mechanics.discrete.charge import noether_charge_central, noether_charge_one_sided
from symjax.mechanics.discrete.linear import (
    LinearState,
    linear_closed_form,
    linear_roots,
    linear_start,
    linear_step,
    linear_value,
)
from symjax.mechanics.discrete.quadratic import (
    QuadraticState,
    quadratic_start,
    quadratic_step,
    quadratic_three_term,
    quadratic_value,
)
from symjax.mechanics.discrete.rule import compensated_add

__all__ = [
    "LinearState",
    "QuadraticState",
    "compensated_add",
    "linear_closed_form",
    "linear_roots",
    "linear_start",
    "linear_step",
    "linear_value",
    "noether_charge_central",
    "noether_charge_one_sided",
    "quadratic_start",
    "quadratic_step",
    "quadratic_three_term",
    "quadratic_value",
]
