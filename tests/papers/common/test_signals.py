"""Signals wait for the loop, once."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from papers.common import signals
from papers.common.signals import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_handlers_return(number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        assert not interrupt.requested and interrupt.name is None
        os.kill(os.getpid(), number)
        assert interrupt.requested and interrupt.name == number.name
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert interrupt.requested


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(second):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), second)
        pytest.fail("the second signal was held back")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_return_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_is_installed():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Interrupt() as interrupt:
            seen.append((interrupt.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_process_that_is_terminated_ends_its_step_and_leaves_cleanly():
    script = (
        "import time\n"
        "from papers.common.signals import Interrupt\n"
        "with Interrupt() as interrupt:\n"
        "    print('ready', flush=True)\n"
        "    while not interrupt.requested:\n"
        "        time.sleep(0.01)\n"
        "print('saved after', interrupt.name)\n"
    )
    root = Path(signals.__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=20)[0] == "saved after SIGTERM\n"
    assert process.returncode == 0
