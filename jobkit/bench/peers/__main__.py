"""Start one rank of a contender: `python PATH/peers LIBRARY FOLDER`.

It may be a Python without jobkit. The folder above is on the path for one import only, so that none of its
modules stands in for one of the library's.
"""

import importlib
import sys
from pathlib import Path

_here = Path(__file__).resolve().parent
sys.path[0] = str(_here.parent)
worker = importlib.import_module(f"{_here.name}.worker")
del sys.path[0]

if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:]))
