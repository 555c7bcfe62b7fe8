"""Let Ctrl-C end an operation that MLX waits for.

`mx.eval` waits without looking at signals, so that Python's own handler would run only when the wait is over.
A thread reads the interpreter's signal wake-up descriptor instead and aborts the groups: the wait then ends
with an error, and Python raises its KeyboardInterrupt at the next line that runs.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable

from jobkit.native.group import Group

REASON = "interrupted"

_groups: weakref.WeakSet[Group] = weakref.WeakSet()
_listening = threading.Event()


def watch(group: Group, operations_running: Callable[[], int]) -> None:
    """Have an interrupt abort `group` if it comes while `operations_running()` is not 0.

    Does nothing outside the main thread, which alone may set a wake-up descriptor, and where the program has
    one already (asyncio): a wait of MLX cannot be interrupted there.
    """
    _groups.add(group)
    if _listening.is_set() or threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    others = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if others != -1:
        signal.set_wakeup_fd(others)
        os.close(reader)
        os.close(writer)
        return
    _listening.set()
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(
        target=_listen, args=(reader, operations_running), name="jobkit-interrupts", daemon=True
    ).start()


def _forget() -> None:
    # A child shares the pipe: its signals must not reach the parent's groups.
    signal.set_wakeup_fd(-1)


def _listen(reader: int, operations_running: Callable[[], int]) -> None:
    while numbers := os.read(reader, 64):
        if signal.SIGINT in numbers and _raises_interrupt() and operations_running():
            for group in list(_groups):
                group.abort(REASON)


def _raises_interrupt() -> bool:
    # A program that handles SIGINT itself has other plans than to end.
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler
