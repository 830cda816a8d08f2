"""The monitor's commands, one module per subject. Importing this registers them all."""

from qgasim.qmp.commands import (
    backends,
    balloon,
    block,
    capabilities,
    devices,
    human,
    migration,
    objects,
    power,
    qom,
    queries,
    unplugging,
)

__all__ = ["ALL"]

ALL = (
    backends,
    balloon,
    block,
    capabilities,
    devices,
    human,
    migration,
    objects,
    power,
    qom,
    queries,
    unplugging,
)
