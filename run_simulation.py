"""``python run_simulation.py``: the measurement run. All of it is in :mod:`runners.simulate`."""

import gc
import sys

if __name__ == "__main__":
    try:
        gc.disable()  # what is imported stays (runners.command.collecting_rarely)
        from runners.simulate import main

        gc.enable()
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
