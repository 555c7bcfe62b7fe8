"""Build the bridge to MLX ahead of its first use, and print where it is: `python -m jobkit.native.mlx`."""

from __future__ import annotations

import os
import sys

from jobkit.errors import JobkitError
from jobkit.native.mlx import build


def main() -> int:
    """Build, and return the exit status."""
    try:
        print(build.load(os.environ).__file__)
    except JobkitError as error:
        print(f"jobkit: error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
