"""Keep `torch.compile` out of the operations, which read memory that a traced tensor has not."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

from jobkit import native


def keep_out() -> None:
    """Have `torch.compile` break the graph before each operation and run it as it is. Idempotent.

    It is what `torch.compiler.disable` does, without a function around each, which would cost every call
    something.
    """
    frames: Any = sys.modules["torch"]._C._dynamo.eval_frame
    skip = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.SKIP)
    methods = (*vars(native.Group).values(), *vars(native.Handle).values())
    for each in (*(getattr(native, name) for name in native.__all__), *methods):
        if isinstance(each, FunctionType):
            vars(each)["_torchdynamo_disable"] = True  # not inlined
            frames.set_code_exec_strategy(each.__code__, skip)  # nor compiled by itself
