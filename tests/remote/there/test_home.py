from __future__ import annotations

import os

from jobkit.env.home import home as of_user
from jobkit.remote.there.home import home


def test_it_is_the_home_of_every_other_part() -> None:
    assert home(os.environ) == of_user(os.environ)
