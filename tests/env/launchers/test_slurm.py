from __future__ import annotations

import pytest

from jobkit.env.launchers.slurm import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement
from jobkit.errors import PlacementError

# Rank 2 of `srun -N2 -n4 --ntasks-per-node=2`, on the second node.
TASK = {
    "SLURM_JOB_ID": "44",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_GTIDS": "2,3",
    "SLURM_DISTRIBUTION": "block",
    "SLURM_TASK_PID": "815",
    "SLURMD_NODENAME": "n2",
}
ABOVE = ((816, "python3"), (815, "bash -c"), (812, "slurmstepd: [44.0]"), (1, "systemd"))
TASK_FACTS = Facts("n2", ancestors=ABOVE, contained=False, cgroup="0::/", terminal=False)
TMUX = Facts(
    "n1", ancestors=((99, "python3"), (90, "bash"), (80, "tmux: server"), (1, "systemd")), contained=False
)


def found(environ: dict[str, str], facts: Facts = TASK_FACTS) -> Found:
    answer = detect(environ, facts)
    assert isinstance(answer, Found), answer
    return answer


def refused(environ: dict[str, str], facts: Facts = TASK_FACTS) -> str:
    answer = detect(environ, facts)
    assert isinstance(answer, NotARank), answer
    assert answer.job == f"slurm-{environ.get('SLURM_JOB_ID', '')}"
    return answer.reason


def test_a_task_is_placed_by_the_variables_of_its_step() -> None:
    answer = found(TASK)
    assert answer.placement == Placement(2, 4, 0, 2, 1, 2, ("n1", "n1", "n2", "n2"))
    assert (answer.job, answer.attempt, answer.first_host) == ("slurm-44.0", 1, "n1")


def test_variables_of_the_job_and_leftovers_of_sbatch_do_not_count() -> None:
    leftovers = {
        "SLURM_NTASKS": "64",
        "SLURM_NNODES": "32",
        "SLURM_NTASKS_PER_NODE": "8",
        "SLURM_TASKS_PER_NODE": "8(x8)",
        "SLURM_JOB_NODELIST": "n[0-63]",
    }
    assert found({**TASK, **leftovers}) == found(TASK)


def test_uneven_nodes() -> None:
    uneven = {
        "SLURM_STEP_TASKS_PER_NODE": "3,1",
        "SLURM_PROCID": "3",
        "SLURM_GTIDS": "3",
    }
    placement = found({**TASK, **uneven}).placement
    assert placement == Placement(3, 4, 0, 1, 1, 2, ("n1", "n1", "n1", "n2"))


@pytest.mark.parametrize("distribution", ["cyclic", "plane", "arbitrary", "", "cyclic:block"])
def test_other_distributions_tell_the_hosts_of_this_nodes_ranks(distribution: str) -> None:
    dealt = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_GTIDS": "1,3"}
    placement = found({**TASK, **dealt, "SLURM_DISTRIBUTION": distribution}).placement
    assert placement == Placement(3, 4, 1, 2, 1, 2, (None, "n2", None, "n2"))


def test_one_task_a_node_is_the_same_in_every_distribution_but_arbitrary() -> None:
    one_each = {
        "SLURM_PROCID": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_GTIDS": "1",
    }
    assert found({**TASK, **one_each, "SLURM_DISTRIBUTION": "cyclic"}).placement.hosts == ("n1", "n2")
    assert found({**TASK, **one_each, "SLURM_DISTRIBUTION": "arbitrary"}).placement.hosts == (None, "n2")


def test_the_word_of_a_distribution_is_compared_with_this_nodes_ranks() -> None:
    """In a step over het groups it is that of one group."""
    placement = found({**TASK, "SLURM_GTIDS": "1,2"}).placement
    assert placement.hosts == (None, "n2", "n2", None)


def test_a_list_in_another_order_than_the_nodes_names_no_first_host() -> None:
    answer = found({**TASK, "SLURMD_NODENAME": "n1"})
    assert (answer.first_host, answer.placement.hosts) == (None, (None, None, "n1", "n1"))


def test_a_job_that_was_requeued_is_at_another_attempt() -> None:
    assert found({**TASK, "SLURM_RESTART_COUNT": "2"}).attempt == 3


ALLOCATION = {"SLURM_JOB_ID": "44", "SLURM_NTASKS": "4"}
BATCH = {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (ALLOCATION, "an allocation without a step"),
        (BATCH, "the batch step of a job"),
        (
            {**TASK, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
            "the shell of an interactive step",
        ),
        ({**TASK, "SLURM_STEP_ID": "4294967291"}, "the batch step of a job"),
        ({**TASK, "SLURM_STEP_ID": "4294967292"}, "a process that Slurm adopted into the job"),
        ({**TASK, "SLURM_STEP_ID": "4294967280"}, "a step that starts no ranks"),
    ],
)
def test_what_is_no_task_is_named_with_the_remedy(environ: dict[str, str], kind: str) -> None:
    said = refused(environ, Facts())
    assert said.startswith(f"SLURM_JOB_ID=44: {kind}")
    assert said.endswith("srun jobkit exec -- COMMAND")


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("slurmstepd: [45.batch]", "the batch step of a job"),
        ("slurmstepd: [45.interactive]", "the shell of an interactive step"),
        ("slurmstepd: [45.extern]", "a process that Slurm adopted"),
    ],
)
def test_the_daemon_above_knows_better_than_variables_of_a_step_around(title: str, kind: str) -> None:
    """A job that is submitted inside a step inherits the step's variables."""
    facts = Facts("n1", ancestors=((9, "bash -c"), (8, title), (1, "init")), contained=False)
    assert kind in refused({**TASK, "SLURM_JOB_ID": "45"}, facts)


def test_a_process_that_is_not_of_the_task_has_inherited_its_variables() -> None:
    assert "variables of step 44.0, inherited by a process that is not its task" in refused(TASK, TMUX)


@pytest.mark.parametrize(
    "facts",
    [
        # A container, from which the task cannot be seen.
        Facts("n1", ancestors=TMUX.ancestors, contained=True),
        Facts("n1", ancestors=TMUX.ancestors),
        # A process that has left its parent, not its step.
        Facts(
            "n1",
            ancestors=TMUX.ancestors,
            contained=False,
            cgroup="0::/system.slice/job_44/step_0/user/task_0\n",
        ),
        # /proc hides the daemon, which is root's.
        Facts("n1", ancestors=((816, "python3"), (815, "bash")), contained=False),
        Facts(),
    ],
)
def test_a_task_that_may_be_one_is_one(facts: Facts) -> None:
    assert found(TASK, facts).placement.rank == 2


def test_another_step_of_the_same_job_is_not_this_one() -> None:
    facts = Facts("n1", ancestors=TMUX.ancestors, contained=False, cgroup="0::/job_44/step_extern/task_0\n")
    assert "inherited" in refused(TASK, facts)


def shell(name: str, *, terminal: bool) -> Facts:
    above = ((816, "python3"), (815, name), (812, "slurmstepd: [44.0]"))
    return Facts("n2", ancestors=above, contained=False, terminal=terminal)


def test_a_shell_at_a_terminal_is_no_rank_of_several() -> None:
    assert "a shell at a terminal (srun --pty bash)" in refused(TASK, shell("bash", terminal=True))


def test_a_script_at_a_terminal_is_one_and_so_is_a_shell_without() -> None:
    assert found(TASK, shell("bash -c", terminal=True)) == found(TASK)
    assert found(TASK, shell("bash", terminal=False)) == found(TASK)


def test_the_shell_of_a_single_task_is_rank_0_of_1() -> None:
    alone = {
        "SLURM_PROCID": "0",
        "SLURM_NODEID": "0",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "n2",
        "SLURM_STEP_TASKS_PER_NODE": "1",
        "SLURM_GTIDS": "0",
    }
    placement = found({**TASK, **alone}, shell("bash", terminal=True)).placement
    assert placement == Placement(0, 1, 0, 1, 0, 1, ("n2",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"SLURM_STEP_NODELIST": "n[1-3]"}, "SLURM_STEP_NUM_NODES=2: contradicts SLURM_STEP_NODELIST"),
        ({"SLURM_STEP_TASKS_PER_NODE": "4"}, "SLURM_STEP_TASKS_PER_NODE=4: contradicts SLURM_STEP_NODELIST"),
        (
            {"SLURM_STEP_NUM_TASKS": "5"},
            r"SLURM_STEP_TASKS_PER_NODE=2\(x2\): contradicts SLURM_STEP_NUM_TASKS=5",
        ),
        ({"SLURM_GTIDS": "0,1"}, "SLURM_PROCID=2: contradicts SLURM_GTIDS=0,1"),
        ({"SLURM_GTIDS": "1,2,3"}, r"SLURM_STEP_TASKS_PER_NODE=2\(x2\): contradicts SLURM_GTIDS=1,2,3"),
        ({"SLURM_GTIDS": "a"}, "SLURM_GTIDS: not a list of ranks, got 'a'"),
        ({"SLURM_NODEID": "2"}, "SLURM_NODEID: not a node of this step, got 2, expected less than 2"),
        ({"SLURM_LOCALID": "2"}, "SLURM_LOCALID: not a local rank of this job, got 2"),
        ({"SLURM_PROCID": ""}, "SLURM_PROCID: not a count, got ''"),
        ({"SLURM_STEP_ID": "two"}, "SLURM_STEP_ID: not a count, got 'two'"),
        ({"SLURM_STEP_ID": "9" * 5000}, "SLURM_STEP_ID: not a count"),
        ({"SLURM_JOB_ID": ""}, "SLURM_JOB_ID: empty or not set"),
        ({"SLURM_STEP_NODELIST": "n[1-"}, r"SLURM_STEP_NODELIST: not a list of hosts, got 'n\[1-'"),
        ({"SLURM_STEP_TASKS_PER_NODE": ""}, "SLURM_STEP_TASKS_PER_NODE: not a list of counts, got ''"),
        ({"PMI_JOBID": "44.0", "PMI_RANK": "1"}, "SLURM_PROCID=2: contradicts PMI_RANK=1"),
        ({"PMIX_NAMESPACE": "slurm.pmix.44.0", "PMIX_RANK": "1"}, "SLURM_PROCID=2: contradicts PMIX_RANK=1"),
    ],
)
def test_variables_that_cannot_be_are_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        detect({**TASK, **wrong}, TASK_FACTS)


def test_another_launchers_pmi_variables_are_not_compared() -> None:
    assert found({**TASK, "PMI_JOBID": "43.0", "PMI_RANK": "1"}) == found(TASK)
