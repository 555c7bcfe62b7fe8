"""Sum a NumPy array over all ranks; MLX is not needed.

jobkit launch -n 4 -- python docs/examples/numpy_allsum.py
"""

import numpy as np

import jobkit.native as dist

world = dist.init()
x = dist.all_sum(np.ones(10, dtype=np.float32))
print(world.rank(), x)
