"""The spec: every key with its type, default and meaning, as one frozen pydantic model.

`jobkit schema` prints its JSON Schema and docs/spec.md its keys; both come from here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from jobkit.spec import kinds, readers
from jobkit.spec.checks import CHECKS
from jobkit.spec.document import Document, is_null, located
from jobkit.spec.interpolate import Template, literal
from jobkit.spec.wrong import Wrongs

EXECUTORS = ("local", "slurm", "ssh")

Texts = tuple[Annotated[str, kinds.TEXT], ...]
Options = dict[Annotated[str, kinds.OPTION], Annotated[str, kinds.ARGUMENT]]


class Section(BaseModel):
    """Keys that belong together; null means the default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        known = {field.alias or name for name, field in cls.model_fields.items()}
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key not in known or not is_null(value)}


class Retries(Section):
    """How often a job is started again, by what ended it."""

    preempted: Annotated[int, kinds.integer(0)] = Field(
        default=0, description="After a preemption.", examples=[5]
    )
    node_failure: Annotated[int, kinds.integer(0)] = Field(
        default=0, description="After a node failed.", examples=[2]
    )
    failed: Annotated[int, kinds.integer(0)] = Field(
        default=0, description="After a rank failed.", examples=[1]
    )


class Signal(Section):
    """A signal sent to the program ahead of the time limit or at preemption."""

    name: Annotated[str, kinds.SIGNAL] = Field(
        description="Which signal, with or without SIG.", examples=["USR1"]
    )
    before_s: Annotated[float, kinds.DURATION] = Field(
        default=60.0,
        alias="before",
        description="How long ahead of the time limit.",
        examples=["90s"],
        json_schema_extra={"default": "60s"},
    )


class Network(Section):
    """Which addresses and ports the ranks use."""

    subnet: Annotated[str | None, kinds.SUBNET] = Field(
        default=None,
        description="Only addresses of this network; unset: jobkit chooses.",
        examples=["10.0.0.0/8"],
    )
    ports: Annotated[tuple[int, int] | None, kinds.PORTS] = Field(
        default=None,
        description="Only ports of this range; unset: any that is free.",
        examples=["20000-20999"],
    )


class Ring(Section):
    """The ring backend."""

    connections_per_ip: Annotated[int, kinds.integer(1, 64)] = Field(
        default=1, description="TCP connections for each address of a neighbour.", examples=[1]
    )


class Mpi(Section):
    """The mpi backend."""

    args: tuple[Annotated[str, kinds.ARGUMENT], ...] = Field(
        default=(), description="More arguments for mpirun.", examples=[["--mca", "btl", "tcp,self"]]
    )


class Jaccl(Section):
    """The jaccl backend."""

    hostfile: Annotated[str | None, kinds.PATH] = Field(
        default=None,
        description="A hostfile with the rdma matrix; unset: found out on the nodes.",
        examples=["hosts.json"],
    )


class Slurm(Section):
    """The slurm executor; other executors check it and go on."""

    login: Annotated[str | None, kinds.TEXT] = Field(
        default=None, description="Submit from this host over SSH; unset: from here.", examples=["login1"]
    )
    partition: Annotated[str | None, kinds.TEXT] = Field(
        default=None, description="sbatch --partition.", examples=["gpu"]
    )
    account: Annotated[str | None, kinds.TEXT] = Field(
        default=None, description="sbatch --account.", examples=["physics"]
    )
    qos: Annotated[str | None, kinds.TEXT] = Field(
        default=None, description="sbatch --qos.", examples=["normal"]
    )
    constraint: Annotated[str | None, kinds.TEXT] = Field(
        default=None, description="sbatch --constraint.", examples=["h100"]
    )
    srun: Options = Field(
        default={}, description="More options of srun; an empty text for a flag.", examples=[{"mpi": "pmix"}]
    )
    extra: Options = Field(
        default={},
        description="More options of sbatch; an empty text for a flag.",
        examples=[{"exclusive": ""}],
    )
    skip: tuple[Annotated[str, kinds.OPTION], ...] = Field(
        default=(), description="Options of sbatch that jobkit leaves out.", examples=[["mem"]]
    )


class Ssh(Section):
    """The ssh executor; other executors check it and go on."""

    hosts: Texts = Field(default=(), description="Hosts in rank order.", examples=[["h1", "h2"]])
    hostfile: Annotated[str | None, kinds.PATH] = Field(
        default=None, description="A JSON hostfile of MLX, in place of hosts.", examples=["hosts.json"]
    )
    python: Annotated[str | None, readers.INTERPRETER] = Field(
        default=None,
        description="Interpreter on the hosts; unset: python, else this one's path, else python3.",
        examples=["/opt/venv/bin/python"],
    )
    sync: Annotated[bool, kinds.BOOLEAN] = Field(
        default=True, description="Bring the working tree and jobkit to the hosts.", examples=[True]
    )
    detach: Annotated[bool, kinds.BOOLEAN] = Field(
        default=False, description="The job lives on when this machine is gone.", examples=[False]
    )
    workdir: Annotated[str | None, kinds.PATH] = Field(
        default=None,
        description="Folder on the hosts in which ranks start; unset: workdir, in the tree that was brought.",
        examples=["work"],
    )
    host_keys: Annotated[str, kinds.choice("strict", "tofu", "off")] = Field(
        default="strict",
        description="strict: known hosts only; tofu: trust a host's first key; off: any key.",
        examples=["strict"],
    )
    suspend_s: Annotated[float, kinds.DURATION] = Field(
        default=600.0,
        alias="suspend",
        description="How long ^Z may pause the job.",
        examples=["10m"],
        json_schema_extra={"default": "10m"},
    )


class JobSpec(Section):
    """What a YAML file asks for."""

    model_config = ConfigDict(title="jobkit spec")

    jobkit: Annotated[int, kinds.choice_of_version(1)] = Field(
        default=1, description="Version of the spec.", examples=[1]
    )
    name: Annotated[Template, readers.NAME] = Field(
        default=literal("job"),
        description="Name of the job; unset: the file's name without its ending.",
        examples=["digits"],
        json_schema_extra={"default": None},
    )
    shell: Annotated[bool, kinds.BOOLEAN] = Field(
        default=False,
        description="Give `run` to /bin/bash -c instead of starting the program itself.",
        examples=[True],
    )
    run: Annotated[tuple[Template, ...], readers.RUN] = Field(
        description="The program with its arguments, as text or as a list of words.",
        examples=["python train.py --epochs 3"],
    )
    backend: Annotated[tuple[str, ...], readers.BACKEND] = Field(
        default=("any",),
        description="What the ranks communicate through; a list for programs that open several.",
        examples=["ring"],
    )
    executor: Annotated[str, kinds.choice(*EXECUTORS)] = Field(
        default="local", description="Where the job runs.", examples=["slurm"]
    )
    ranks: Annotated[int | None, kinds.integer(1)] = Field(
        default=None, description="Ranks in all. Alone: on one node (ssh: on the hosts listed).", examples=[4]
    )
    nodes: Annotated[int | None, kinds.integer(1)] = Field(
        default=None, description="Nodes. Alone: one rank on each.", examples=[2]
    )
    ranks_per_node: Annotated[int | None, kinds.integer(1)] = Field(
        default=None, description="Ranks on each node. Alone: one node (ssh: all hosts).", examples=[2]
    )
    cpus_per_rank: Annotated[int | None, kinds.integer(1)] = Field(
        default=None,
        description="CPU cores for each rank; also OMP_NUM_THREADS, unless that is set.",
        examples=[1],
    )
    gpus_per_rank: Annotated[int, kinds.integer(0)] = Field(
        default=0, description="GPUs for each rank.", examples=[1]
    )
    share_gpus: Annotated[bool, kinds.BOOLEAN] = Field(
        default=False, description="More ranks than devices are allowed.", examples=[True]
    )
    memory_bytes: Annotated[int | None, kinds.MEMORY] = Field(
        default=None, alias="memory", description="Memory on each node.", examples=["16G"]
    )
    env: dict[Annotated[str, kinds.VARIABLE], Annotated[Template, readers.VARIABLE_TEXT]] = Field(
        default={}, description="Variables for the ranks.", examples=[{"MLX_METAL_FAST_SYNCH": "1"}]
    )
    forward: tuple[Annotated[str, kinds.VARIABLE], ...] = Field(
        default=(),
        description="Names of variables taken from the submitting environment.",
        examples=[["HF_HOME"]],
    )
    secrets: tuple[Annotated[str, kinds.VARIABLE], ...] = Field(
        default=(),
        description="The same, but never printed, never on a command line, and on disk with mode 0600 only.",
        examples=[["WANDB_API_KEY"]],
    )
    inherit: Annotated[bool, kinds.BOOLEAN] = Field(
        default=True, description="false: ranks start from PATH, HOME, USER and LANG only.", examples=[False]
    )
    python: Annotated[str | None, readers.INTERPRETER] = Field(
        default=None,
        description="Interpreter with jobkit on the nodes, first on PATH; unset: the submitting one.",
        examples=[".venv/bin/python"],
    )
    workdir: Annotated[str, readers.PATH] = Field(
        default=".", description="Folder in which the ranks start.", examples=["project"]
    )
    run_dir: Annotated[str | None, readers.PATH] = Field(
        default=None,
        description="Folder for the run folders of jobs; unset: $JOBKIT_HOME/jobs.",
        examples=["/shared/runs"],
    )
    snapshot: Annotated[bool, kinds.BOOLEAN] = Field(
        default=False, description="Run from a copy of workdir taken at submission.", examples=[True]
    )
    setup: tuple[Annotated[str, kinds.LINE], ...] = Field(
        default=(),
        description="Lines for bash, once on each node; ranks start from the environment they leave.",
        examples=[["module load cuda"]],
    )
    time_s: Annotated[float | None, kinds.DURATION] = Field(
        default=None,
        alias="time",
        description="Time limit of an attempt; unset: none, or the scheduler's.",
        examples=["2h"],
    )
    retries: Retries = Field(default=Retries(), description=Retries.__doc__)
    signal: Signal | None = Field(default=None, description=Signal.__doc__)
    network: Network = Field(default=Network(), description=Network.__doc__)
    ring: Ring = Field(default=Ring(), description=Ring.__doc__)
    mpi: Mpi = Field(default=Mpi(), description=Mpi.__doc__)
    jaccl: Jaccl = Field(default=Jaccl(), description=Jaccl.__doc__)
    sweep: Annotated[tuple[dict[str, str], ...], readers.SWEEP] = Field(
        default=(),
        description="Run once for each point: the product of lists, or a list of mappings as they are.",
        examples=[{"lr": [0.1, 0.01], "seed": [1, 2]}],
    )
    parallel: Annotated[int, kinds.integer(1)] = Field(
        default=1, description="Points of the sweep that run at once.", examples=[2]
    )
    after: Texts = Field(
        default=(), description="Jobs that must have succeeded before this one starts.", examples=[["last"]]
    )
    slurm: Slurm = Field(default=Slurm(), description=Slurm.__doc__)
    ssh: Ssh = Field(default=Ssh(), description=Ssh.__doc__)

    _document: Document | None = PrivateAttr(default=None)

    def where(self, key: str) -> str:
        """Return where a top-level key was written, as a complaint starts: `a.yaml:4: memory`."""
        if self._document is None:
            return key
        return located(self._document.place((key,)), (key,))

    @model_validator(mode="after")
    def _check(self) -> JobSpec:
        wrongs = [wrong for check in CHECKS for wrong in check(self)]
        if wrongs:
            raise Wrongs(wrongs)
        return self
