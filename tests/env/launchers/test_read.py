from __future__ import annotations

import pytest

from jobkit.env.launchers.read import count
from jobkit.errors import PlacementError


def test_a_count_is_read() -> None:
    assert count({"N": "012"}, "N") == 12


@pytest.mark.parametrize("text", ["", " 1", "1.0", "-1", "+1", "٣", "1_0"])
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(PlacementError, match="N: not a count"):
        count({"N": text}, "N")
