"""Run the command line: `python -m jobkit`."""

import sys

from jobkit.cli import main

sys.exit(main())
