"""Load averages: as the kernel counts them, and as they are written."""

from typing import Final, TypeAlias

__all__ = ["Load", "count_load", "show_load"]

#: The averages of the last 1, 5 and 15 minutes.
Load: TypeAlias = tuple[float, float, float]
#: The kernel counts in 2048ths (include/linux/sched/loadavg.h, FIXED_1).
_FIXED_1: Final = 2048


def count_load(load: Load) -> Load:
    """Return what the kernel makes of *load*: whole 2048ths, as getloadavg(3) returns them."""
    first, second, third = (round(average * _FIXED_1) / _FIXED_1 for average in load)
    return first, second, third


def show_load(load: Load, *, rounds: bool = True) -> list[str]:
    """Return the averages with two digits after the point.

    /proc/loadavg rounds them (fs/proc/loadavg.c adds ``FIXED_1/200``, kernel/sched/loadavg.c,
    get_avenrun()), sysinfo(2) does not.
    """
    texts: list[str] = []
    for average in load:
        fixed = int(average * _FIXED_1) + (_FIXED_1 // 200 if rounds else 0)
        texts.append(f"{fixed // _FIXED_1}.{fixed % _FIXED_1 * 100 // _FIXED_1:02d}")
    return texts
