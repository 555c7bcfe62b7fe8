from __future__ import annotations

import numpy as np

from jobkit.bench.peers.memcpy import make


def test_the_bytes_are_copied_to_memory_that_is_kept() -> None:
    x = np.arange(10.0)
    call = make().call("send", x, "out")

    call.run()

    assert call.result.tolist() == x.tolist()
