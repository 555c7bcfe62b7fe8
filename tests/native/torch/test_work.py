"""What an operation of `torch.distributed` returns."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import NoReturn

import pytest
import torch

from jobkit.errors import BackendError
from jobkit.native.torch.work import Work


def fail() -> NoReturn:
    raise BackendError("rank 1 is gone")


def test_it_is_over_when_its_call_is() -> None:
    work = Work("all_reduce", lambda: None, [torch.ones(2)])
    assert not work.is_completed()
    work.run()
    assert work.is_completed()
    assert work.is_success()
    assert work.wait()
    assert work.exception() is None
    assert [x.tolist() for x in work.result()] == [[1, 1]]


def test_its_error_is_raised_by_each_wait() -> None:
    work = Work("all_reduce", fail, [])
    work.run()
    assert work.is_completed()
    assert not work.is_success()
    for _ in range(2):
        with pytest.raises(BackendError, match="rank 1 is gone"):
            work.wait()
    with pytest.raises(BackendError, match="rank 1 is gone"):
        work.synchronize()


@pytest.mark.parametrize("when", ["before", "after"])
def test_its_future_has_the_result_or_the_error_whenever_it_is_asked_for(when: str) -> None:
    for call in (lambda: None, fail):
        work = Work("all_reduce", call, [torch.ones(1)])
        future = work.get_future() if when == "before" else None
        work.run()
        future = future or work.get_future()
        assert work.get_future() is future
        if call is fail:
            with pytest.raises(Exception, match="rank 1 is gone"):
                future.wait()
        else:
            assert future.wait()[0].item() == 1


def test_a_wait_may_be_bounded() -> None:
    work = Work("all_reduce", lambda: None, [])
    with pytest.raises(BackendError, match=r"all_reduce: has not ended in 0\.01 s"):
        work.wait(timedelta(seconds=0.01))
    threading.Timer(0.05, work.run).start()
    assert work.wait(timedelta(seconds=30))


def test_nothing_is_recorded_for_gradients_while_it_runs() -> None:
    seen: list[bool] = []
    work = Work("all_reduce", lambda: seen.append(torch.is_grad_enabled()), [])
    work.run()
    assert seen == [False]
