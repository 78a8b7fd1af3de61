"""``python run_simulation.py``: the measurement run. All of it is in :mod:`runners.simulate`."""

import sys

from runners.simulate import main

if __name__ == "__main__":
    sys.exit(main())
