"""The text of the templates in slurm/: each stands alone, and what they share is the same in all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEMPLATES = sorted((Path(__file__).parents[2] / "slurm").glob("*.sbatch"))
RING = next(path for path in TEMPLATES if path.name == "ring.sbatch").read_text()
BEGIN = RING[RING.index("# ---- The same in every template, from") : RING.index("# ---- ... to here.")]
STEP = RING[RING.index("# ---- The same in most") : RING.index("# ----\n")]
END = RING[RING.index("# ---- The same in every template: srun's status") :]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_what_templates_share_is_the_same(template: Path) -> None:
    text = template.read_text()
    assert text.count(BEGIN) == 1
    assert text.count(STEP) == ("hetjob" not in template.name)
    assert text.endswith(END)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_head_says_how_it_is_called_and_what_slurm_is_asked_for(template: Path) -> None:
    head = template.read_text().partition("\n\n")[0]
    assert re.search(rf"^#   .*sbatch .*slurm/{template.name}", head, re.MULTILINE), head
    asked = set(re.findall(r"^#SBATCH --([a-z-]+)=", head, re.MULTILINE))
    # What the shared part takes from the job has to be said in it: else another job's would be there.
    assert asked >= {"nodes", "ntasks-per-node", "cpus-per-task", "time"}
