"""``python -m qgasim``."""

import sys

from qgasim.cli import main

sys.exit(main())
