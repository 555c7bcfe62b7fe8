"""Train a small network with fully_shard: every rank keeps a part of each parameter.

    jobkit launch -n 2 -- python docs/examples/torch_fsdp.py

Under torchrun it runs as it is, too.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import jobkit.native.torch  # noqa: F401 - registers the backend

dist.init_process_group("jobkit")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)  # the same data on every rank
x = torch.randn(256, 8)
y = (x**2).sum(dim=1, keepdim=True)
mine = slice(rank, None, size)  # this rank's share

model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
fully_shard(model, mesh=init_device_mesh("cpu", (size,)))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for step in range(1, 101):
    loss = nn.functional.mse_loss(model(x[mine]), y[mine])
    optimizer.zero_grad()
    loss.backward()  # leaves each rank the averaged gradients of its parts
    optimizer.step()
    if step % 20 == 0:
        mean = loss.detach().clone()
        dist.all_reduce(mean, dist.ReduceOp.AVG)
        if rank == 0:
            print(f"step {step}  loss {mean.item():.3f}", flush=True)

dist.destroy_process_group()
