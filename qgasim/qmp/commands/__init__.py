"""The monitor's commands, one module per subject. Importing this registers them all."""

from qgasim.qmp.commands import devices, human, migration, power, qom, queries

__all__ = ["ALL"]

ALL = (devices, human, migration, power, qom, queries)
