"""Train a small network with DistributedDataParallel: the losses are the same on any number of ranks.

    jobkit launch -n 2 -- python docs/examples/torch_ddp.py

Under torchrun it runs as it is, too.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import jobkit.native.torch  # noqa: F401 - registers the backend

dist.init_process_group("jobkit")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)  # the same data on every rank
x = torch.randn(256, 8)
y = (x**2).sum(dim=1, keepdim=True)
mine = slice(rank, None, size)  # this rank's share

model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1)))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for step in range(1, 101):
    loss = nn.functional.mse_loss(model(x[mine]), y[mine])
    optimizer.zero_grad()
    loss.backward()  # averages the gradients over the ranks
    optimizer.step()
    if step % 20 == 0:
        mean = loss.detach().clone()
        dist.all_reduce(mean, dist.ReduceOp.AVG)
        if rank == 0:
            print(f"step {step}  loss {mean.item():.3f}", flush=True)

dist.destroy_process_group()
