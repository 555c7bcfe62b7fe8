"""Why Slurm lets a job wait, in words."""

from __future__ import annotations

import re

# A state of Slurm's stands for its reason where it gives none.
_TOLD = {
    "Resources": "waiting for free nodes or cores",
    "Priority": "waiting behind jobs of a higher priority",
    "PENDING": "waiting for Slurm to look at it",
    "WaitingForScheduling": "waiting for Slurm to look at it",
    "Dependency": "waiting for the jobs that it comes after",
    "DependencyNeverSatisfied": "a job that it comes after did not succeed",
    "BeginTime": "waiting for the time from which it may start",
    "JobHeldUser": "held by its user; `scontrol release` lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobHoldMaxRequeue": "held: it was requeued too often",
    "launch failed requeued held": "held: it could not be launched",
    "JobArrayTaskLimit": "waiting for other points of its sweep",
    "Licenses": "waiting for licences",
    "Reservation": "waiting for its reservation",
    "ReservationDeleted": "its reservation was deleted",
    "Cleaning": "waiting for what its last attempt leaves to be cleaned up",
    "Prolog": "the site's prologue is running",
    "NodeDown": "a node that it needs is down",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs at present",
    "PartitionNodeLimit": "it wants more or fewer nodes than its partition allows, or they are down",
    "PartitionTimeLimit": "its time is above the limit of its partition",
    "PartitionConfig": "its partition does not allow what it asks for",
    "AccountNotAllowed": "its account is not allowed in its partition",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "QOSNotAllowed": "its QOS is not allowed for its account or partition",
    "QOSUsageThreshold": "the usage that its QOS allows is reached",
    "BadConstraints": "no nodes satisfy its constraints",
    "MaxMemPerLimit": "it wants more memory than is allowed",
    "SystemFailure": "Slurm had a failure",
    "BurstBufferResources": "waiting for a burst buffer",
    "BurstBufferStageIn": "waiting for its data to be staged in",
    "FrontEndDown": "no front end node is up",
    "PowerNotAvail": "waiting for power",
    "PowerReserved": "waiting for power",
    "FedJobLock": "waiting for the clusters of the federation to agree",
    "CONFIGURING": "its nodes are getting ready",
    "job requeued in held state": "held after it was requeued; `scontrol release` lets it go",
    "REQUEUE_HOLD": "held after it was requeued",
    "SPECIAL_EXIT": "held after a special exit",
    "MaxBootLimit": "nodes did not boot often enough",
}
# 'AssocGrpCpuLimit', 'QOSMaxJobsPerUserLimit', 'AssociationJobLimit'
_LIMIT = re.compile(r"(Assoc(?:iation)?|QOS|Qos)(Grp|Max|Min)?([A-Za-z]*)")
_WHOSE = {"Assoc": "its account", "Association": "its account", "QOS": "its QOS", "Qos": "its QOS"}
_OF_ALL = {"Grp": " for all jobs together", "Max": "", "Min": "", None: ""}


def told(code: str) -> str:
    """Return a reason of Slurm's in words, with Slurm's own after them; one that is not known as it is.

    >>> told("Resources")
    'waiting for free nodes or cores (Resources)'
    >>> told("AssocGrpCpuLimit")
    'a limit of its account for all jobs together is reached (AssocGrpCpuLimit)'
    >>> told("SomethingNew")
    'SomethingNew'
    """
    # 'ReqNodeNotAvail, UnavailableNodes:gpu-a08'
    words = _TOLD.get(code.partition(",")[0].strip()) or _limit(code)
    return f"{words} ({code})" if words else code


def is_held(words: str) -> bool:
    """Tell whether a reason in words means that somebody must let the job go."""
    return words.startswith("held")


def _limit(code: str) -> str | None:
    found = _LIMIT.fullmatch(code)
    if found is None or not (found[2] or code.endswith("Limit")):
        return None
    if found[2] == "Min":
        return f"it asks for less than {_WHOSE[found[1]]} wants at least"
    return f"a limit of {_WHOSE[found[1]]}{_OF_ALL[found[2]]} is reached"
