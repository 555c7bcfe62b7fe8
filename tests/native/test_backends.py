"""Which group `init` returns: the document's caching cases, and the truth where nothing is configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

import pytest

from jobkit.errors import BackendError
from jobkit.native import backends
from jobkit.native.group import Group


class Stand(ModuleType):
    """A backend that is there when the environment has its name, and counts how often it forms a group."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.formed = 0
        self.closed = 0

    def is_available(self, _: Mapping[str, str]) -> bool:
        return True

    def is_configured(self, environ: Mapping[str, str]) -> bool:
        return self.__name__ in environ

    def init(self, environ: Mapping[str, str], strict: bool) -> Group | None:
        if self.__name__ not in environ:
            if strict:
                raise BackendError(f"backend {self.__name__}: not configured")
            return None
        if environ[self.__name__] == "broken":
            raise BackendError(f"backend {self.__name__}: broken")
        self.formed += 1
        return Closing(self)


class Closing(Group):
    def __init__(self, stand: Stand) -> None:
        super().__init__(None, backend=stand.__name__)
        self.stand = stand
        self.failed: str | None = None

    def failure(self) -> str | None:
        return self.failed

    def close(self) -> None:
        self.stand.closed += 1


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stand]]:
    made = {name: Stand(name) for name in backends.NAMES}
    monkeypatch.setattr(backends, "BACKENDS", made)
    yield made
    backends.shutdown()


ALL = {"ring": "", "mpi": "", "nccl": "", "jaccl": ""}


def init(environ: Mapping[str, str], backend: str = "any", strict: bool = False) -> Group:
    return backends.init(environ, strict=strict, backend=backend)


def test_case_1_a_named_backend_is_what_later_calls_return(stands: dict[str, Stand]) -> None:
    world = init(ALL, "mpi")
    assert world.backend == "mpi"
    assert init(ALL) is world
    assert stands["ring"].formed == 0


def test_case_2_any_returns_the_same_group_again(stands: dict[str, Stand]) -> None:
    assert init(ALL) is init(ALL)
    assert sum(stand.formed for stand in stands.values()) == 1


def test_case_3_of_two_backends_any_is_the_first(stands: dict[str, Stand]) -> None:
    mpi, ring = init(ALL, "mpi"), init(ALL, "ring")
    assert (mpi.backend, ring.backend) == ("mpi", "ring")
    assert init(ALL) is mpi
    assert init(ALL, "ring") is ring
    assert init(ALL, "mpi") is mpi


def test_a_backend_that_any_formed_is_the_one_by_its_name(stands: dict[str, Stand]) -> None:
    assert init({"ring": ""}) is init({"ring": ""}, "ring")
    assert stands["ring"].formed == 1


@pytest.mark.parametrize(
    ("there", "chosen"), [("nccl ring mpi jaccl", "nccl"), ("jaccl mpi ring", "ring"), ("jaccl mpi", "mpi")]
)
def test_any_takes_the_first_that_is_configured(stands: dict[str, Stand], there: str, chosen: str) -> None:
    assert init(dict.fromkeys(there.split(), "")).backend == chosen


@pytest.mark.parametrize(
    ("named", "chosen"), [("mpi", "mpi"), ("jaccl-ring", "jaccl"), ("jaccl, ring", "jaccl"), ("any", "nccl")]
)
def test_the_job_may_say_what_any_is(stands: dict[str, Stand], named: str, chosen: str) -> None:
    assert init({**ALL, "JOBKIT_BACKEND": named}).backend == chosen


def test_a_wrong_name_in_the_environment_is_an_error(stands: dict[str, Stand]) -> None:
    with pytest.raises(BackendError, match="JOBKIT_BACKEND: unknown name, got 'gloo', expected one of jaccl"):
        init({"JOBKIT_BACKEND": "gloo"})


def test_a_broken_configuration_is_an_error_even_for_any(stands: dict[str, Stand]) -> None:
    with pytest.raises(BackendError, match="ring: broken"):
        init({"ring": "broken", "mpi": ""})


def test_after_a_failure_the_next_call_tries_again(stands: dict[str, Stand]) -> None:
    with pytest.raises(BackendError, match="not configured"):
        init({}, "ring", strict=True)
    assert init({}, "ring").backend == "none"
    assert init({"ring": ""}, "ring", strict=True).backend == "ring"


def test_an_unknown_backend_is_a_value_error_that_lists_the_known(stands: dict[str, Stand]) -> None:
    with pytest.raises(
        ValueError, match="unknown name, got 'gloo', expected one of any, jaccl, mpi, nccl, ring"
    ):
        init({}, "gloo")


def test_with_nothing_configured_the_group_has_one_rank(stands: dict[str, Stand]) -> None:
    world = init({})
    assert (world.rank(), world.size(), world.backend) == (0, 1, "none")
    assert init({}, "mpi") is world


def test_strict_raises_where_nothing_is_configured(stands: dict[str, Stand]) -> None:
    with pytest.raises(BackendError, match="backend nccl or ring or mpi or jaccl: not configured"):
        init({}, strict=True)


@pytest.mark.parametrize("backend", ["any", "ring", "mpi"])
@pytest.mark.parametrize("name", ["JOBKIT_SIZE", "MLX_WORLD_SIZE"])
def test_several_ranks_without_a_meeting_place_are_never_silently_alone(
    stands: dict[str, Stand], name: str, backend: str
) -> None:
    with pytest.raises(BackendError):
        init({name: "4"}, backend)


@pytest.mark.parametrize("asked", [{}, {"JOBKIT_BACKEND": "nccl"}])
def test_where_another_backend_is_configured_none_is_silently_alone(
    stands: dict[str, Stand], asked: dict[str, str]
) -> None:
    with pytest.raises(BackendError):
        init({"ring": "", **asked}, "any" if asked else "nccl")


@pytest.mark.parametrize("name", ["JOBKIT_RANK", "MLX_RANK"])
def test_a_rank_above_0_is_never_silently_alone(stands: dict[str, Stand], name: str) -> None:
    with pytest.raises(BackendError, match="there are several ranks, but nothing says where they meet"):
        init({name: "1"})
    assert init({name: "0"}).size() == 1


def test_a_placed_size_of_one_is_a_group_of_one_even_when_strict(stands: dict[str, Stand]) -> None:
    assert init({"JOBKIT_SIZE": "1"}, strict=True).size() == 1
    assert init({"JOBKIT_SIZE": "1"}, "ring", strict=True).size() == 1


def test_a_backend_of_none_with_several_ranks_says_what_to_do(stands: dict[str, Stand]) -> None:
    with pytest.raises(BackendError, match="there are 4 ranks, but nothing says where they meet"):
        init({"JOBKIT_SIZE": "4", "JOBKIT_BACKEND": "none"})


def test_a_group_that_has_failed_is_never_returned_again(stands: dict[str, Stand]) -> None:
    world = init(ALL, "ring")
    assert isinstance(world, Closing)
    world.failed = "rank 2 is gone"
    for backend in ("ring", "any"):
        with pytest.raises(BackendError, match="ring: its group has failed: rank 2 is gone\n\nhint: "):
            init(ALL, backend)
    backends.shutdown()
    assert init(ALL, "ring") is not world


def test_shutdown_closes_every_group_once_and_forgets_it(stands: dict[str, Stand]) -> None:
    first = init(ALL, "mpi")
    init(ALL, "ring")
    backends.shutdown()
    backends.shutdown()
    assert (stands["mpi"].closed, stands["ring"].closed) == (1, 1)
    assert init(ALL, "mpi") is not first


def test_availability_needs_no_group_and_knows_no_unknown_backend(stands: dict[str, Stand]) -> None:
    assert backends.is_available({}, "any")
    assert backends.is_available({}, "ring")
    assert not backends.is_available({}, "gloo")
    assert sum(stand.formed for stand in stands.values()) == 0


def test_the_backends_that_are_bundled_keep_the_protocol() -> None:
    for name, module in backends.BACKENDS.items():
        assert isinstance(module.is_available({}), bool)
        assert module.init({}, False) is None
        with pytest.raises(BackendError, match=f"^backend {name}: "):
            module.init({}, True)
