"""Do one thing for many hosts at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from jobkit.errors import JobkitError, SubmitError, complaint

AT_ONCE = 32
T = TypeVar("T")


def each(names: Sequence[str], do: Callable[[str], T]) -> list[T | JobkitError]:
    """Return what a function returns for each host, or the error that it raises, in their order.

    The threads do not outlive this process: an interrupt ends the wait for them.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[int, T | JobkitError]] = queue.SimpleQueue()
    for index in range(len(names)):
        waiting.put(index)
    for _ in range(min(AT_ONCE, len(names))):
        threading.Thread(target=_work, args=(names, do, waiting, answers), daemon=True).start()
    found = dict(answers.get() for _ in names)
    return [found[index] for index in range(len(names))]


def _work(
    names: Sequence[str],
    do: Callable[[str], T],
    waiting: queue.SimpleQueue[int],
    answers: queue.SimpleQueue[tuple[int, T | JobkitError]],
) -> None:
    while True:
        try:
            index = waiting.get_nowait()
        except queue.Empty:
            return
        # Also where a bug shows its traceback, so that nobody waits for ever.
        answer: T | JobkitError = SubmitError(complaint(names[index], "cannot be asked"))
        try:
            answer = do(names[index])
        except JobkitError as error:
            answer = error
        finally:
            answers.put((index, answer))
