"""Linear forms in the unknown degrees of the parameters, and their equations, solved as they come.

An equation is solved at once for its youngest unknown, so generators stay local and no matrix is built. The numbers
are rational (degrees of positive scalings) or modulo 2 (signs).
"""

from fractions import Fraction

__all__ = ["Equations", "Form", "plain"]

Form = dict[int, int | Fraction]


class Equations:
    """Unknowns ``0, 1, ...`` in order of birth, and the equations between them."""

    def __init__(self, modulus: int | None = None) -> None:
        self.modulus, self.count = modulus, 0
        self._solved: dict[int, Form] = {}

    @property
    def solved(self) -> int:
        """How many equations said something new."""
        return len(self._solved)

    def unknown(self) -> Form:
        """A new unknown."""
        self.count += 1
        return {self.count - 1: 1}

    def add(self, left: Form, right: Form, factor: int | Fraction = 1) -> Form:
        """``left + factor * right``."""
        if not right:
            return left
        if not left and factor == 1:
            return right
        total = dict(left)
        for unknown, coefficient in right.items():
            value = total.get(unknown, 0) + (coefficient if factor == 1 else factor * coefficient)
            if self.modulus:
                value %= self.modulus
            if value:
                total[unknown] = value
            else:
                total.pop(unknown, None)
        return total

    def reduce(self, form: Form) -> Form:
        """Write a form in unknowns that no equation has solved."""
        if self._solved.keys().isdisjoint(form):
            return form
        total: Form = {}
        for unknown, coefficient in form.items():
            total = self.add(total, self._value(unknown), coefficient)
        return total

    def zero(self, form: Form) -> None:
        """Require ``form = 0``."""
        form = self.reduce(form)
        if not form:
            return
        youngest = max(form)
        lead = form[youngest]
        factor = 1 if self.modulus else (-lead if lead in (1, -1) else Fraction(-1) / lead)
        self._solved[youngest] = {
            unknown: plain(factor * coefficient) for unknown, coefficient in form.items() if unknown != youngest
        }

    def equal(self, left: Form, right: Form) -> None:
        """Require ``left = right``."""
        if left is not right and left != right:
            self.zero(self.add(left, right, -1))

    def _value(self, unknown: int) -> Form:
        if unknown not in self._solved:
            return {unknown: 1}
        # a chain may be long: children first, without recursion
        stack = [unknown]
        while stack:
            top = stack[-1]
            form = self._solved[top]
            pending = [u for u in form if u in self._solved and any(v in self._solved for v in self._solved[u])]
            if pending:
                stack += pending
                continue
            total: Form = {}
            for u, coefficient in form.items():
                total = self.add(total, self._solved.get(u, {u: 1}), coefficient)
            self._solved[top] = total
            stack.pop()
        return self._solved[unknown]


def plain(value: int | Fraction) -> int | Fraction:
    """A number, as an integer where it is one."""
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value
