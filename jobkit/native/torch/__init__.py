"""PyTorch: tensors that require grad on groups of the bundled engine, and the backend "jobkit".

Importing this registers the backend, so that `torch.distributed.init_process_group("jobkit")` finds it.
Tensors that require no grad need nothing from here: pass them to `jobkit.native`.
"""

from jobkit.native.torch.gradients import all_gather, all_max, all_min, all_sum, all_to_all
from jobkit.native.torch.registration import register

__all__ = ["all_gather", "all_max", "all_min", "all_sum", "all_to_all", "register"]

register()
