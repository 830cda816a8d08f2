"""The routes: one module for each chapter; each registers its own."""

from qgasim.control.api import (
    faults,
    guests,
    inside,
    journal,
    judging,
    page,
    process,
    time,
)
from qgasim.control.registry import ROUTES

__all__ = [
    "ROUTES", "faults", "guests", "inside", "journal", "judging", "page", "process", "time",
]  # fmt: skip
