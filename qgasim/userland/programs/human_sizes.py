"""What programs print of sizes and devices: in units, as people read them, as UUIDs."""

from uuid import NAMESPACE_URL, uuid5

__all__ = ["in_units", "to_human", "uuid_of"]

UNITS = " KMGTPE"


def in_units(size: int, unit: int, *, is_busybox: bool) -> int:
    """Return *size* bytes in units: GNU's programs round up, BusyBox rounds."""
    return (size + unit // 2) // unit if is_busybox else -(-size // unit)


def to_human(size: int, *, is_busybox: bool, base: int = 1024) -> str:
    """Write *size* bytes as ``4.0K``."""
    if size < base:
        return str(size)
    power = 0
    while size >= base ** (power + 1):
        power += 1
    unit = base**power
    if is_busybox:
        tenths = (size * 10 + unit // 2) // unit
        return f"{tenths // 10}.{tenths % 10}{UNITS[power]}"
    # GNU: one digit behind the point for what is less than 10, and always up.
    tenths = -(-size * 10 // unit)
    if tenths < 100:
        return f"{tenths // 10}.{tenths % 10}{UNITS[power]}"
    whole = -(-size // unit)
    if whole >= base:
        return f"1.0{UNITS[power + 1]}"
    return f"{whole}{UNITS[power]}"


def uuid_of(device: str) -> str:
    """Return the UUID of the file system on *device*: any will do that stays the same."""
    return str(uuid5(NAMESPACE_URL, device))
