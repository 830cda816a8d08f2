"""What the pytest plugin does when a test asks for a guest."""

from qgasim.testing.guests import Guests, Lent, lend_in_nursery
from qgasim.testing.reports import describe_guests, forget_guests, summarise
from qgasim.testing.wishes import Wish, check_marker, check_options, read_matrix, read_wish

__all__ = [
    "Guests",
    "Lent",
    "Wish",
    "check_marker",
    "check_options",
    "describe_guests",
    "forget_guests",
    "lend_in_nursery",
    "read_matrix",
    "read_wish",
    "summarise",
]
