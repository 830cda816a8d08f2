"""What QEMU 7.2 refuses of the parameters and capabilities of a migration (migration/migration.c).

The checks are in QEMU's order, and look at what would be then. Releases that have not got a parameter refuse it
before. UNVERIFIED: the bounds of the other releases.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from qgasim.errors import CommandError

__all__ = ["check_capabilities", "check_parameters"]

_VALUE: Final = "a value between {} and {}"
_INTEGER: Final = "an integer in the range of {} to {}"
#: The parameter, its least and greatest value, and what errors say; a lower bound in the text that is not the
#: least value is QEMU's.
_BOUNDS: Final[tuple[tuple[str, int, int, str], ...]] = (
    ("compress-level", 0, 9, _VALUE.format(0, 9)),
    ("compress-threads", 1, 255, _VALUE.format(1, 255)),
    ("decompress-threads", 1, 255, _VALUE.format(1, 255)),
    ("throttle-trigger-threshold", 1, 100, _INTEGER.format(1, 100)),
    ("cpu-throttle-initial", 1, 99, _INTEGER.format(1, 99)),
    ("cpu-throttle-increment", 1, 99, _INTEGER.format(1, 99)),
    ("downtime-limit", 0, 2_000_000, _INTEGER.format(0, "(2000 * 1000) ms")),
    ("multifd-channels", 1, 255, _VALUE.format(1, 255)),
)
_PAGE: Final = 4096
_POWER_OF_TWO: Final = "a power of two no less than the target page size"
_LATER_BOUNDS: Final[tuple[tuple[str, int, int, str], ...]] = (
    ("announce-initial", 0, 100_000, _VALUE.format(0, 100_000)),
    ("announce-max", 0, 100_000, _VALUE.format(0, 100_000)),
    ("announce-rounds", 0, 1000, _VALUE.format(0, 1000)),
    ("announce-step", 1, 10_000, _VALUE.format(0, 10_000)),
)


def _refuse(name: str, expected: str) -> CommandError:
    return CommandError(f"Parameter '{name.replace('-', '_')}' expects {expected}")


def _check_bounds(
    bounds: tuple[tuple[str, int, int, str], ...], parameters: Mapping[str, Any]
) -> None:
    for name, low, high, expected in bounds:
        if not low <= parameters.get(name, low) <= high:
            raise _refuse(name, expected)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters as they would be.

    Raises:
        CommandError: one is out of its bounds.
    """
    _check_bounds(_BOUNDS, parameters)
    cache = parameters.get("xbzrle-cache-size", _PAGE)
    if cache < _PAGE or cache & (cache - 1):
        raise _refuse("xbzrle-cache-size", _POWER_OF_TWO)
    least, most = parameters.get("cpu-throttle-initial", 1), 99
    if not least <= parameters.get("max-cpu-throttle", most) <= most:
        raise _refuse("max-cpu-throttle", _INTEGER.format("cpu_throttle_initial", most))
    _check_bounds(_LATER_BOUNDS, parameters)


def check_capabilities(on: AbstractSet[str], parameters: Mapping[str, Any]) -> None:
    """Refuse capabilities that cannot be on together.

    Raises:
        CommandError: two of them exclude each other, or the host has not what one needs.
    """
    if {"postcopy-ram", "x-ignore-shared"} <= on:
        raise CommandError("Postcopy is not compatible with ignore-shared")
    if "background-snapshot" in on:
        # Recorded on a host without write protection by userfaultfd.
        raise CommandError("Background-snapshot is not supported by host kernel")
    is_compressed = bool({"compress", "xbzrle"} & on) or (
        parameters.get("multifd-compression", "none") != "none" or parameters.get("tls-creds")
    )
    if "zero-copy-send" in on and ("multifd" not in on or is_compressed):
        what = "non-compressed non-TLS multifd migration"
        raise CommandError(f"Zero copy only available for {what}")
    if "postcopy-preempt" in on and "postcopy-ram" not in on:
        raise CommandError("Postcopy preempt requires postcopy-ram")
    if {"postcopy-preempt", "compress"} <= on:
        raise CommandError("Postcopy preempt not compatible with compress")
    if {"multifd", "compress"} <= on:
        raise CommandError("Multifd is not compatible with compress")
