"""The model has every key of the specification, with its default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobkit.errors import SpecError
from jobkit.spec import load, parse
from jobkit.spec.model import JobSpec

Complaints = Callable[..., list[str]]


def spec(text: str, **environ: str) -> JobSpec:
    """Return the spec of a YAML text."""
    return parse(text, "configs/a.yaml", environ)


def test_the_example_with_every_key_is_read(repository: Path) -> None:
    full = load(str(repository / "tests/data/spec/full.yaml"), {})

    assert full.name.fill({}) == "digits"
    assert [word.fill({}) for word in full.run] == [
        "python",
        "docs/examples/train_digits.py",
        "--epochs",
        "3",
    ]
    assert (full.executor, full.nodes, full.ranks_per_node, full.cpus_per_rank) == ("slurm", 2, 2, 1)
    assert full.memory_bytes == 16 << 30
    assert full.env["MLX_METAL_FAST_SYNCH"].fill({}) == "1"
    assert (full.forward, full.secrets) == (("HF_HOME",), ("WANDB_API_KEY",))
    assert full.setup == ("module load cuda",)
    assert full.time_s == 7200
    assert (full.retries.preempted, full.retries.node_failure, full.retries.failed) == (5, 2, 0)
    assert full.signal is not None
    assert (full.signal.name, full.signal.before_s) == ("USR1", 90)
    assert (full.network.subnet, full.network.ports) == ("10.0.0.0/8", (20000, 20999))
    assert full.sweep[1] == {"lr": "0.1", "seed": "2"}
    assert full.after == ("JOB",)
    assert full.slurm.srun == {"mpi": "pmix"}
    assert full.slurm.extra == {"exclusive": ""}
    assert full.slurm.skip == ("mem",)
    assert full.ssh.hosts == ("h1", "h2")
    assert full.ssh.suspend_s == 600


def test_the_example_has_every_key(repository: Path) -> None:
    text = (repository / "tests/data/spec/full.yaml").read_text()
    keys = {line.split(":")[0] for line in text.splitlines()}

    assert {field.alias or name for name, field in JobSpec.model_fields.items()} == keys | {"shell", "ranks"}


def test_the_shortest_spec_has_the_defaults() -> None:
    short = spec("run: a\n")

    assert short.model_dump(
        exclude={"name", "run", "retries", "network", "ring", "mpi", "jaccl", "slurm", "ssh"}
    ) == {
        "jobkit": 1,
        "shell": False,
        "backend": ("any",),
        "executor": "local",
        "ranks": None,
        "nodes": None,
        "ranks_per_node": None,
        "cpus_per_rank": None,
        "gpus_per_rank": 0,
        "share_gpus": False,
        "memory_bytes": None,
        "env": {},
        "forward": (),
        "secrets": (),
        "inherit": True,
        "python": None,
        "workdir": ".",
        "run_dir": None,
        "snapshot": False,
        "setup": (),
        "time_s": None,
        "signal": None,
        "sweep": (),
        "parallel": 1,
        "after": (),
    }
    assert short.retries.model_dump() == {"preempted": 0, "node_failure": 0, "failed": 0}
    assert short.network.model_dump() == {"subnet": None, "ports": None}
    assert (short.ssh.sync, short.ssh.detach, short.ssh.host_keys, short.ssh.suspend_s) == (
        True,
        False,
        "strict",
        600,
    )


def test_null_is_the_default_of_every_key_but_run(complaints: Complaints) -> None:
    keys = [field.alias or name for name, field in JobSpec.model_fields.items() if name != "run"]

    nulls = spec("run: a\n" + "".join(f"{key}:\n" for key in keys))

    assert nulls.model_dump() == spec("run: a\n").model_dump()
    assert "run: missing" in complaints("run:\n")[0]


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        spec("run: a\n").ranks = 3


KEYS = [field.alias or name for name, field in JobSpec.model_fields.items()]
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["${A}", "${{ sweep.a }}", "$${", "1:30", "010", "16G", "2h", "any", "'", "a && b"]),
)  # fmt: skip
JUNK = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*KEYS, "name", "before", "hosts", "a", "A", "", "1"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=6))
def test_any_nested_values_are_a_spec_or_complaints(value: dict[str, Any]) -> None:
    import yaml

    try:
        found = parse(yaml.safe_dump(value, allow_unicode=True), "a.yaml", {"A": "1"})
    except SpecError as error:
        assert all(
            line.startswith(("a.yaml", "and ")) for line in str(error).split("\n") if "hint" not in line
        )
    else:
        assert found.run
