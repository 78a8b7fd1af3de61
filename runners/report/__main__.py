"""``python -m runners.report``."""

import sys

from runners.report import main

sys.exit(main())
