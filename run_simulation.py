"""``python run_simulation.py``: the measurement run. All of it is in :mod:`runners.simulate`."""

import sys

if __name__ == "__main__":
    try:
        from runners.simulate import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
