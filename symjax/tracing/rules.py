"""The one table of primitives: adding a primitive is one entry."""

from symjax.tracing.rules_contract import CONTRACT, UNKNOWN
from symjax.tracing.rules_elementwise import ELEMENTWISE
from symjax.tracing.rules_shape import SHAPE
from symjax.tracing.walk import Rule

__all__ = ["RULES", "UNKNOWN"]

RULES: dict[str, Rule] = {**ELEMENTWISE, **SHAPE, **CONTRACT}
