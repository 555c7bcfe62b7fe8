from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import names
from jobkit.env.reference import markdown

JACCL_OWN = {name for name in names.CONTRACT if name.startswith("JACCL_")}
# A rank never sees it.
NOT_FOR_RANKS = {names.KEEPER}


def test_the_page_is_what_the_package_says(repository: Path) -> None:
    page = (repository / "docs" / "env.md").read_text()
    assert page == markdown(), "python -m jobkit.env.reference > docs/env.md"


@pytest.mark.parametrize(
    "name", sorted({*names.CONTRACT, *names.TORCH, *names.OWN} - JACCL_OWN - NOT_FOR_RANKS)
)
def test_every_variable_is_explained(name: str) -> None:
    assert f"| `{name}` | " in markdown()
