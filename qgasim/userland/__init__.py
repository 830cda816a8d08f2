"""What can run in a guest: programs and a shell. A guest gets them as a mapping."""

from qgasim.userland.catalogue import USERLANDS

__all__ = ["USERLANDS"]
