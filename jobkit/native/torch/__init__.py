"""Gradients through the operations of `jobkit.native` on PyTorch's tensors."""

from jobkit.native.torch.gradients import all_gather, all_max, all_min, all_sum, all_to_all

__all__ = ["all_gather", "all_max", "all_min", "all_sum", "all_to_all"]
