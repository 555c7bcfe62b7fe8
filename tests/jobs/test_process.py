from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from jobkit.jobs import process


def test_this_process_is_alive() -> None:
    me = process.identify(os.getpid())
    assert me is not None
    assert process.is_alive(me)


def test_a_process_that_took_over_the_id_is_another_one() -> None:
    me = process.identify(os.getpid())
    assert me is not None
    assert not process.is_alive(replace(me, start="1"))
    assert not process.is_alive(replace(me, boot_id="another boot"))


def test_a_zombie_is_not_alive(until: Callable[..., None]) -> None:
    child = subprocess.Popen(["true"])
    until(lambda: process.identify(child.pid) is None)
    child.wait()


def test_no_signal_reaches_a_process_that_took_over_the_id() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        who = process.identify(child.pid)
        assert who is not None
        assert not process.send(replace(who, start="1"), signal.SIGKILL)
        assert not process.send(replace(who, boot_id="another boot"), signal.SIGKILL)
        assert child.poll() is None
        assert process.send(who, signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        assert not process.send(who, signal.SIGTERM)
    finally:
        child.kill()
        child.wait()


def test_a_signal_is_sent_without_process_descriptors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def old_kernel(pid: int) -> int:
        raise OSError("Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", old_kernel)
    child = subprocess.Popen(["sleep", "60"])
    try:
        who = process.identify(child.pid)
        assert who is not None
        assert process.send(who, signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()
