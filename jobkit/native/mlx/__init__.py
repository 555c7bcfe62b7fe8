"""MLX arrays on a group of the bundled engine.

`group` turns a group into a real `mx.distributed.Group`: streams, compile, grad and vmap are MLX's own.
`install` makes it the one that `mx.distributed` uses. Where no C++ compiler can build the bridge, operations
run when they are called instead, which grad understands and compile and vmap refuse.
"""

from jobkit.native.mlx.groups import bridge, group
from jobkit.native.mlx.install import init, install, is_available
from jobkit.native.mlx.ops import (
    all_gather,
    all_max,
    all_min,
    all_sum,
    all_to_all,
    broadcast,
    gather,
    recv,
    recv_like,
    scatter,
    send,
    sendrecv,
    sum_scatter,
)

__all__ = [
    "all_gather",
    "all_max",
    "all_min",
    "all_sum",
    "all_to_all",
    "bridge",
    "broadcast",
    "gather",
    "group",
    "init",
    "install",
    "is_available",
    "recv",
    "recv_like",
    "scatter",
    "send",
    "sendrecv",
    "sum_scatter",
]
