"""The spec: every key with its type, default and meaning, as one frozen pydantic model.

`jobkit schema` prints its JSON Schema and docs/spec.md its keys; both come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from jobkit.spec import kinds
from jobkit.spec.document import Document, Plain, dotted, is_null, located
from jobkit.spec.geometry import geometry
from jobkit.spec.interpolate import KEY, Template, command, literal, template
from jobkit.spec.wrong import Path, Wrong, Wrongs

BACKENDS = ("any", "ring", "jaccl", "jaccl-ring", "mpi", "nccl", "none")
EXECUTORS = ("local", "slurm", "ssh")
MAX_POINTS = 10_000

# What jobkit itself sets in every rank; a value from the spec would be lost.
_MLX = ("RANK", "WORLD_SIZE", "HOSTFILE", "IBV_DEVICES", "JACCL_COORDINATOR", "JACCL_RING")
_JACCL = ("RANK", "IBV_DEVICES", "COORDINATOR", "RING")
_PLACEMENT = ("JOB", "RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE", "NODES", "ATTEMPT", "RUN_DIR")
_GROUP = ("BACKEND", "GANG_FILE", "TOKEN_FILE", "VICTIM_FILE", "OUTER", "AGENT_FD", "SPEC_HASH")
_SETTLED = ("PORTS", "SUBNET", "CONNECTIONS_PER_IP", "NCCL_PORT", "GPUS_PER_RANK", "SHARE_GPUS")
CONTRACT_VARIABLES = frozenset(
    (
        *(f"MLX_{name}" for name in _MLX),
        *(f"JACCL_{name}" for name in _JACCL),
        *(f"JOBKIT_{name}" for name in _PLACEMENT + _GROUP + _SETTLED),
        "NCCL_HOST_IP",
        "NCCL_PORT",
    )
)
TORCH_VARIABLES = frozenset(
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
)


def _environ(info: ValidationInfo) -> Mapping[str, str]:
    environ: Mapping[str, str] = (info.context or {}).get("environ", {})
    return environ


def _home(path: str, environ: Mapping[str, str]) -> str:
    """Return a path with a leading ~ replaced, as a shell would."""
    if path != "~" and not path.startswith("~/"):
        return path
    if not environ.get("HOME"):
        raise Wrong("HOME is not set", got=path, expected="HOME in the environment, or a path without ~")
    return environ["HOME"] + path[1:]


def _read_each(items: Any, read: Callable[[Any], Any]) -> list[Any]:
    """Return what `read` makes of each (place, value), reporting every one that is wrong."""
    found: list[Any] = []
    wrongs: list[Wrong] = []
    for at, value in items:
        try:
            found.append(read(value))
        except (Wrong, Wrongs) as error:
            for wrong in error.wrongs if isinstance(error, Wrongs) else [error]:
                wrong.at = (at, *wrong.at)
                wrongs.append(wrong)
    if wrongs:
        raise Wrongs(wrongs)
    return found


def _read_run(value: Any, info: ValidationInfo) -> tuple[Template, ...]:
    """Return the words of the command, or with `shell: true` its text alone."""
    if "shell" not in info.data:
        return ()  # `shell` is wrong itself: what the command may have in it is not known
    shell = bool(info.data["shell"])
    if isinstance(value, dict) or is_null(value):
        raise Wrong("not a command", got=value, expected="text or a list of words")
    if isinstance(value, list | tuple):
        return _read_words(value, _environ(info), shell)
    text = kinds.written(value)
    if not text.strip():
        raise Wrong("no command", got=text, expected="a program, then its arguments")
    return (template(text, {}, shell=True),) if shell else command(text, _environ(info))


def _read_words(
    value: list[Any] | tuple[Any, ...], environ: Mapping[str, str], shell: bool
) -> tuple[Template, ...]:
    def word(item: Any) -> Template:
        if item == "" and isinstance(item, Plain):
            raise Wrong("no word", expected='text; "" for an empty word')
        return template(kinds.written(item), environ)

    if shell:
        raise Wrong("a list together with `shell: true`", got=value, expected="one text")
    found = _read_each(enumerate(value), word)
    if not found or not found[0].parts:
        raise Wrong("no command", got=value, expected="a program, then its arguments")
    return tuple(found)


def _read_variable(value: Any, info: ValidationInfo) -> Template:
    return template(kinds.variable_text(value), _environ(info))


def _read_path(value: Any, info: ValidationInfo) -> str:
    """Return a path with variables and ~ put in; it may still be relative."""
    environ = _environ(info)
    filled = template(_home(kinds.plain_text(value), environ), environ)
    if filled.references():
        raise Wrong(
            "not replaced here", got=value, expected="a path; run, env and name can have ${{ sweep.KEY }}"
        )
    path = filled.fill({})
    if not path:
        raise Wrong("empty", got=value, expected="a path")
    return path


def _read_name(value: Any) -> Template:
    """Return the name of the job; a Template is one that was made from the file's name."""
    if isinstance(value, Template):
        return value
    text = kinds.one_line(value)
    if "${" in text.replace("$${", "").replace("${{", ""):
        raise Wrong("not replaced here", got=value, expected="a name; it can have ${{ sweep.KEY }}")
    return template(text, {})


def _read_python(value: Any) -> str:
    text = kinds.setting(value)
    if "/" not in text:
        raise Wrong("not a path", got=text, expected=f"a path with a slash, such as /usr/bin/{text}")
    return text


def _read_backend(value: Any) -> tuple[str, ...]:
    """Return the backends, one or several."""
    one = kinds.choice(*BACKENDS).read
    if not isinstance(value, list | tuple):
        return (one(value),)
    found = tuple(_read_each(enumerate(value), one))
    if not found:
        raise Wrong("an empty list", got=value, expected=kinds.choice(*BACKENDS).expected)
    if len(set(found)) < len(found):
        raise Wrong("a backend given twice", got=value, expected="each once")
    if len(found) > 1 and {"any", "none"} & set(found):
        raise Wrong(
            "any and none stand alone", got=value, expected="a list of ring, jaccl, jaccl-ring, mpi, nccl"
        )
    return found


def _read_sweep(value: Any) -> tuple[dict[str, str], ...]:
    """Return the points of a sweep: the product of lists, the last key fastest, or mappings as they are."""
    if isinstance(value, dict) and value:
        columns = _read_each(value.items(), _read_column)
        n_points = prod(len(column) for column in columns)
        _check_points(n_points)
        _read_each(((key, key) for key in value), _read_key)
        return tuple(dict(zip(value, point, strict=True)) for point in product(*columns))
    if isinstance(value, list | tuple) and value:
        _check_points(len(value))
        return tuple(_read_each(enumerate(value), _read_point))
    raise Wrong(
        "no points", got=value, expected="lists: {lr: [0.1, 0.01]}, or a list of mappings: [{lr: 0.1}]"
    )


def _check_points(n_points: int) -> None:
    if n_points > MAX_POINTS:
        raise Wrong("too many points", expected=f"at most {MAX_POINTS}")


def _read_key(key: str) -> str:
    return kinds.matching(
        KEY, key, "not the name of a sweep's value", "letters, digits, _ and -, first a letter or _"
    )


def _read_column(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise Wrong("not a list of values", got=value, expected="a list: [0.1, 0.01]")
    return _read_each(enumerate(value), _read_sweep_value)


def _read_point(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise Wrong("not a point", got=value, expected="a mapping: {lr: 0.1, seed: 1}")
    texts = _read_each(value.items(), _read_sweep_value)
    return dict(zip(_read_each(((key, key) for key in value), _read_key), texts, strict=True))


def _read_sweep_value(value: Any) -> str:
    if value is None or (value == "" and isinstance(value, Plain)):
        raise Wrong("no value", expected='text or a number; "" for empty text')
    return kinds.written(value)


def _reads(read: Callable[..., Any], expected: str, *types: dict[str, Any]) -> kinds.Kind:
    """Return the kind that a reader of this file makes; it may be written in each of several types."""
    return kinds.Kind(expected, read, types[0] if len(types) == 1 else {"anyOf": list(types)})


_SCALAR = {"type": ["string", "number", "boolean"]}
_ANY_TEXT = {"type": "string"}
_LIST = {"type": "array", "items": _SCALAR, "minItems": 1}
_BACKEND = {"enum": list(BACKENDS)}

_COUNT = kinds.integer(1)
_RUN = _reads(_read_run, "a command, or a list of words", _ANY_TEXT, _LIST)
_BACKENDS = _reads(
    _read_backend,
    f"{', '.join(BACKENDS)}, or a list",
    _BACKEND,
    {"type": "array", "items": _BACKEND, "minItems": 1},
)
_NAME = _reads(_read_name, "text", _ANY_TEXT)
_PATH = _reads(_read_path, "a path", _ANY_TEXT)
_INTERPRETER = _reads(_read_python, "a path with a slash", _ANY_TEXT)
_VARIABLE_TEXT = _reads(_read_variable, "text", _SCALAR)
_POINTS = _reads(
    _read_sweep,
    "a mapping of lists, or a list of mappings",
    {"type": "object", "additionalProperties": _LIST, "minProperties": 1},
    {"type": "array", "items": {"type": "object", "additionalProperties": _SCALAR}, "minItems": 1},
)

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
    python: Annotated[str | None, _INTERPRETER] = Field(
        default=None,
        description="Interpreter on the hosts; unset: as python.",
        examples=["/opt/venv/bin/python"],
    )
    sync: Annotated[bool, kinds.BOOLEAN] = Field(
        default=True, description="Copy workdir to the hosts.", examples=[True]
    )
    detach: Annotated[bool, kinds.BOOLEAN] = Field(
        default=False, description="The job lives on when this machine is gone.", examples=[False]
    )
    workdir: Annotated[str | None, kinds.PATH] = Field(
        default=None, description="Folder on the hosts; unset: as workdir.", examples=["work"]
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
    name: Annotated[Template, _NAME] = Field(
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
    run: Annotated[tuple[Template, ...], _RUN] = Field(
        description="The program with its arguments, as text or as a list of words.",
        examples=["python train.py --epochs 3"],
    )
    backend: Annotated[tuple[str, ...], _BACKENDS] = Field(
        default=("any",),
        description="What the ranks communicate through; a list for programs that open several.",
        examples=["ring"],
    )
    executor: Annotated[str, kinds.choice(*EXECUTORS)] = Field(
        default="local", description="Where the job runs.", examples=["slurm"]
    )
    ranks: Annotated[int | None, _COUNT] = Field(
        default=None, description="Ranks in all. Alone: on one node (ssh: on the hosts listed).", examples=[4]
    )
    nodes: Annotated[int | None, _COUNT] = Field(
        default=None, description="Nodes. Alone: one rank on each.", examples=[2]
    )
    ranks_per_node: Annotated[int | None, _COUNT] = Field(
        default=None, description="Ranks on each node. Alone: one node (ssh: all hosts).", examples=[2]
    )
    cpus_per_rank: Annotated[int | None, _COUNT] = Field(
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
    env: dict[Annotated[str, kinds.VARIABLE], Annotated[Template, _VARIABLE_TEXT]] = Field(
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
    python: Annotated[str | None, _INTERPRETER] = Field(
        default=None,
        description="Interpreter with jobkit on the nodes, first on PATH; unset: the submitting one.",
        examples=[".venv/bin/python"],
    )
    workdir: Annotated[str, _PATH] = Field(
        default=".", description="Folder in which the ranks start.", examples=["project"]
    )
    run_dir: Annotated[str | None, _PATH] = Field(
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
    sweep: Annotated[tuple[dict[str, str], ...], _POINTS] = Field(
        default=(),
        description="Run once for each point: the product of lists, or a list of mappings as they are.",
        examples=[{"lr": [0.1, 0.01], "seed": [1, 2]}],
    )
    parallel: Annotated[int, _COUNT] = Field(
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
        wrongs = [wrong for check in _CHECKS for wrong in check(self)]
        if wrongs:
            raise Wrongs(wrongs)
        return self


def _check_geometry(spec: JobSpec) -> Iterator[Wrong]:
    try:
        geometry(spec.ranks, spec.nodes, spec.ranks_per_node)
    except Wrong as wrong:
        wrong.at = ("ranks",)
        yield wrong


def _check_references(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each `${{ sweep.KEY }}` that some point of the sweep has no value for."""
    known = frozenset.intersection(*(frozenset(point) for point in spec.sweep)) if spec.sweep else frozenset()
    expected = f"one of {', '.join(sorted(known))}" if known else "a key of `sweep`, which has none"
    for path, text in _templates(spec):
        for key in sorted(text.references() - known):
            yield Wrong("unknown value of the sweep", got=key, expected=expected, at=path)


def _templates(spec: JobSpec) -> Iterator[tuple[Path, Template]]:
    yield ("name",), spec.name
    yield from ((("run",), word) for word in spec.run)
    yield from ((("env", name), value) for name, value in spec.env.items())


def _check_variables(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each name that jobkit sets itself, and each that has two sources."""
    ours = CONTRACT_VARIABLES | (frozenset() if spec.backend == ("none",) else TORCH_VARIABLES)
    seen: dict[str, str] = {}
    for path, name in _variables(spec):
        if name in ours:
            yield Wrong("jobkit sets it in every rank", got=name, expected="another variable", at=path)
        if name in seen:
            yield Wrong(
                f"already under {seen[name]}", got=name, expected="one place for each variable", at=path
            )
        seen[name] = dotted(path[:1])


def _variables(spec: JobSpec) -> Iterator[tuple[Path, str]]:
    yield from ((("env", name), name) for name in spec.env)
    yield from ((("forward", index), name) for index, name in enumerate(spec.forward))
    yield from ((("secrets", index), name) for index, name in enumerate(spec.secrets))


def _check_signal(spec: JobSpec) -> Iterator[Wrong]:
    if spec.signal and spec.time_s is not None and spec.signal.before_s >= spec.time_s:
        before, expected = f"{spec.signal.before_s:g}s", f"less than {spec.time_s:g}s"
        yield Wrong("not ahead of the time limit", got=before, expected=expected, at=("signal", "before"))


_CHECKS: tuple[Callable[[JobSpec], Iterator[Wrong]], ...] = (
    _check_geometry,
    _check_references,
    _check_variables,
    _check_signal,
)
