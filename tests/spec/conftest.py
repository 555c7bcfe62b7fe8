"""What the tests of the spec share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from jobkit.errors import SpecError
from jobkit.spec import parse

# How long an example takes says nothing on a machine that does other work.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def complaints() -> Callable[..., list[str]]:
    """A function from YAML, and perhaps overrides and an environment, to the lines of its complaints."""

    def lines(text: str, *overrides: str, environ: dict[str, str] | None = None) -> list[str]:
        with pytest.raises(SpecError) as caught:
            parse(text, "a.yaml", environ or {}, overrides=overrides)
        return str(caught.value).split("\n")

    return lines
