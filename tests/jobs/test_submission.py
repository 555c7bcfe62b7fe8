from __future__ import annotations

import json

from jobkit.jobs.submission import File, Submission, to_json

SENT = Submission(
    job_id="a",
    name="digits",
    executor="local",
    run_dir="/runs/a",
    files=(File("spec.yaml", 0o600, "run: x\n"), File("secrets", 0o600, None)),
    command=("python", "-m", "keeper", "/runs/a b"),
    environ={"A": "1", "TWO": "1\n2", "LR": None, "TOKEN": None},
    secrets=("TOKEN",),
    after_placement=("MLX_RANK",),
    snapshot="/project",
)


def test_people_see_everything_but_the_secret() -> None:
    assert str(SENT) == (
        "job a\nexecutor local\nrun folder /runs/a\nsnapshot /project -> /runs/a/snapshot\n\n"
        "== spec.yaml (0600)\nrun: x\n\n"
        "== secrets (0600)\nTOKEN=<secret>\n\n"
        "== environment\nA=1\nTWO='1\n2'\nLR=<by sweep point>\nTOKEN=<secret>\nMLX_RANK=<after placement>\n\n"
        "== command\npython -m keeper '/runs/a b'\n"
    )


def test_programs_see_null_for_what_is_secret_or_unknown() -> None:
    shown = json.loads(json.dumps(to_json(SENT)))
    assert shown["environment"] == {"A": "1", "TWO": "1\n2", "LR": None, "TOKEN": None, "MLX_RANK": None}
    assert shown["files"][1] == {"path": "secrets", "mode": "0600", "text": None}
    assert shown["command"] == ["python", "-m", "keeper", "/runs/a b"]
    assert (shown["id"], shown["executor"], shown["snapshot"]) == ("a", "local", "/project")
