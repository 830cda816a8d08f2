"""``python -m qgasim``, and the script ``qgasim``."""

import signal
import sys

# Until `main` has installed its handlers, SIGINT ends this without a traceback, as it does a program in C.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from qgasim.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
