"""Failures that a command line turns into one sentence and an exit code."""


class UserError(Exception):
    """Say in one sentence what is wrong, the value found, what is allowed and what to do.

    Raised for everything a user can mend: an option out of range, absent or damaged data, a run directory in use.
    A command line prints the message without a traceback and exits with code 2.
    """


class InUse(UserError):
    """Say that another process holds what this one needs: a run directory."""


class Divergence(Exception):
    """Say in one sentence that a training run left the finite numbers, at which step and from which loss.

    The last good checkpoint is kept; a command line prints the message and exits with code 3.
    """
