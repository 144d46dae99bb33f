"""Signals wait for the loop, once."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from papers.common import cli, signals
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


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to configure."""


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("held_back", [False, True])
def test_a_command_stops_with_a_word_and_the_conventional_code(capsys, number, word, held_back):
    """Wherever it is: in a loop that looks for signals, and everywhere else."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def entry(config):
        if not held_back:
            os.kill(os.getpid(), number)
            pytest.fail("the signal was held back")
        with Interrupt() as interrupt:
            os.kill(os.getpid(), number)
            assert interrupt.requested
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        cli.main(entry, Config, "prog", argv=[])
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == f"prog: {word}\n"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


BUSY = """
import dataclasses, hashlib
from papers.common import cli
from papers.common.signals import Interrupt

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def entry(config):
    print("ready", flush=True)
    {loop}hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes without a look at signals, as compiling is

cli.main(entry, Config, "prog", argv=[])
"""


@pytest.mark.parametrize("loop", ["", "with Interrupt(): "])
def test_a_stop_says_at_once_what_it_waits_for_and_a_second_one_ends_it(loop):
    """Inside a program that looks for no signals no handler of Python's runs; the word comes all the same."""
    root = Path(signals.__file__).parents[2]
    command = [sys.executable, "-c", BUSY.format(loop=loop)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=root, **pipes)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.terminate()
        assert process.stderr.readline() == f"prog: SIGTERM: {signals.ELSEWHERE}\n"
        process.terminate()
        _, complained = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 143 and complained == "prog: SIGTERM: the process ends\n"


TIMED = """
import dataclasses, os, signal, threading, warnings
from papers.common import cli

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def entry(config):
    threading.Timer(60.0, warnings.warn, ("a package's own words",)).start()  # as a broken-off backend leaves it
    os.kill(os.getpid(), signal.SIGINT)

cli.main(entry, Config, "prog", argv=[])
"""


def test_a_timer_left_behind_neither_keeps_the_process_nor_speaks():
    root = Path(signals.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", TIMED], cwd=root, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "prog: interrupted\n")


STOPPED = {
    "data": "papers.common.data --dataset cifar10 --data-dir DIR --cache-dir CACHE",
    "toys": "papers.noether.figures --out OUT",
    "a figure": "papers.gradient_flow.figures --figure 4 --out OUT",
}


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_command_stops_with_one_sentence(name, number, tmp_path):
    """Early, while it imports or loads: nothing is left that blocks the same words."""
    words = [str(tmp_path / word) if word in ("DIR", "CACHE", "OUT") else word for word in STOPPED[name].split()]
    (tmp_path / "DIR").mkdir()
    hold = (
        "import sys, runpy, importlib.util, threading, os, time, signal\n"
        "real = importlib.util.find_spec\n"
        "sys.modules['matplotlib'] = None\n"  # whatever happens after the signal, nothing is drawn
        f"import papers.common.cli as cli\n"
        "run = cli._run\n"
        "def late(*arguments):\n"
        f"    threading.Timer(0.2, os.kill, (os.getpid(), {int(number)})).start()\n"
        "    run(*arguments)\n"
        "    time.sleep(60)\n"
        "cli._run = late\n"
        f"sys.argv = {words!r}\n"
        f"runpy.run_module({words[0]!r}, run_name='__main__', alter_sys=False)\n"
    )
    root = Path(signals.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", hold], cwd=root, capture_output=True, text=True, timeout=120,
        env={**os.environ, "SYMJAX_PAPERS_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    if name == "data":  # the absent archive may be told first
        assert done.returncode in (2, 128 + number)
    else:
        assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 2
    assert not any((tmp_path / "OUT").glob("**/config.json"))
