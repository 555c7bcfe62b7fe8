from __future__ import annotations

import json
import os

import pytest

from jobkit.jobs import plan_file
from jobkit.plan import plan
from jobkit.spec import parse

SPECS = [
    "run: true\n",
    "run: [python, 'a b.py', é]\nranks: 4\ntime: 2h\nsignal: {name: USR1, before: 90s}\n"
    "network: {ports: 20000-20999}\n",
    "run: echo ${{ sweep.lr }}\nsweep: {lr: [0.1, 1e-3], seed: [1, 2]}\nparallel: 2\nretries: {failed: 3}\n",
    "run: 'echo \"$A\" | cat'\nshell: true\nenv: {A: '10'}\nsetup: ['set -x']\nsnapshot: true\n",
]


@pytest.mark.parametrize("text", SPECS)
def test_a_plan_survives_its_text(text: str) -> None:
    made = plan(parse(text, "a.yaml", os.environ), cwd="/project")
    assert plan_file.loads(plan_file.dumps(made)) == made


def test_bytes_of_the_environment_that_are_no_text_survive() -> None:
    made = plan(parse("run: x\nenv: {A: '${ODD}', B: é}\n", "a.yaml", {"ODD": "\udcff"}), cwd="/project")
    text = plan_file.dumps(made)
    assert plan_file.loads(text.encode().decode()) == made
    assert '"B": "\\u00e9"' in text


def test_the_text_is_json_with_a_key_a_line() -> None:
    text = plan_file.dumps(plan(parse("run: 'true'\n", "a.yaml", {}), cwd="/project"))
    assert json.loads(text)["workdir"] == "/project"
    assert '  "workdir": "/project",\n' in text
