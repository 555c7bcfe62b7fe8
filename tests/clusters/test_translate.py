"""What ranks of several hosts find, started by a real srun."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from clusters.slurm import NODES, Slurm

FOUND = """
import json, os
prefixes = ("MLX_", "MASTER_", "JOBKIT_BACKEND")
found = {name: text for name, text in os.environ.items() if name.startswith(prefixes)}
for name in ("MLX_IBV_DEVICES", "MLX_HOSTFILE"):
    found[name] = json.load(open(os.environ[name]))
print(json.dumps(found))
"""


def test_jaccls_matrix_is_in_the_order_of_srun_and_not_of_the_file(cluster: Slurm, tmp_path: Path) -> None:
    backwards = [
        {"ssh": host, "rdma": [None if host == other else f"{host}-{other}" for other in reversed(NODES)]}
        for host in reversed(NODES)
    ]
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps(backwards))
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    words = (sys.executable, "-m", "jobkit.env", "--backend", "any", "--", sys.executable, "-c", FOUND)
    step = cluster.run(
        *("srun", "-N3", *words),
        JOBKIT_HOME=str(home),
        JOBKIT_JACCL_HOSTFILE=str(file),
        JOBKIT_CONNECTIONS_PER_IP="2",
        PATH=os.environ["PATH"],
    )
    ranks = sorted(map(json.loads, step.stdout.splitlines()), key=lambda found: int(found["MLX_RANK"]))

    for rank, found in enumerate(ranks):
        assert found["JOBKIT_BACKEND"] == "jaccl"
        own = [None if other == NODES[rank] else f"{NODES[rank]}-{other}" for other in NODES]
        assert found["MLX_IBV_DEVICES"][rank] == own
        assert [len(row) for row in found["MLX_HOSTFILE"]] == [2, 2, 2]
        addresses = [row[0].split(":")[0] for row in found["MLX_HOSTFILE"]]
        assert addresses == [cluster.hosts.addresses[node] for node in NODES]
        assert found["MASTER_ADDR"] == addresses[0]
        assert found["MLX_JACCL_COORDINATOR"].split(":")[0] == addresses[0]
