"""The standard streams of a command: closed ones lead nowhere, and what a terminal cannot show is escaped."""

import contextlib
import os
import sys


def secure() -> None:
    """Make printing safe, whatever the process was started with.

    A closed standard stream (a daemon, ``2>&-``) is replaced by the null device, its descriptor too: the next file
    opened would take its number, and every message meant for the stream would be written into it. A character that the
    terminal's encoding lacks (``LANG=C``) is escaped instead of raising. Calling it twice changes nothing.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # stays open as long as the process lives
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(ValueError, OSError):  # closed by the program itself
                reconfigure(errors="backslashreplace")
