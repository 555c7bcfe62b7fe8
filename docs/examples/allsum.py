"""Sum an array over all ranks: the first program.

jobkit launch -n 4 -- python docs/examples/allsum.py                    # MLX's own ring
jobkit launch -n 4 -- python -m jobkit.native docs/examples/allsum.py   # the ring that jobkit brings
"""

import mlx.core as mx

world = mx.distributed.init()
x = mx.distributed.all_sum(mx.ones(10))
print(f"{world.rank()} {x}")
