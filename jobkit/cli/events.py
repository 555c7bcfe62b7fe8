"""Tell programs what happens to jobs: `--json` prints events, a line each."""

from __future__ import annotations

import json
from typing import Any

from jobkit.jobs import clock


def emit(event: str, **fields: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, "time": clock.rfc3339(clock.now()), **fields}), flush=True)
