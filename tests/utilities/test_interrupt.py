import os
import signal
import threading

from labml_sd.utilities.interrupt import Interrupt


def test_ctrl_c_is_delayed_inside_and_restored_afterwards(ctrl_c):
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_the_background_goes_on_ignoring_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        assert not interrupt.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_delayed():
    held = []

    def enter() -> None:
        with Interrupt() as interrupt:
            held.append(interrupt.asked)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert held == [False]
