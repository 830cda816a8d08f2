"""The introduction of a guest that is served: on the terminal, and in the line for ``--ready-fd``."""

import argparse
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgasim.serving.listen import Address
    from qgasim.simulation.simulation import Simulation

from qgasim.cli.hints import ways_in
from qgasim.cli.parser import mute

__all__ = ["describe_guest", "introduce_guest"]


def describe_guest(simulation: "Simulation", seed: int, address: "Address") -> dict[str, object]:
    """Return the ready line."""
    agent = simulation.agent
    return {
        "address": str(address),
        "path": getattr(address, "path", None),
        "pid": os.getpid(),
        "agent": agent.dialect.full_version,
        "hostname": agent.guest.hostname,
        "seed": seed,
    }


def introduce_guest(
    options: argparse.Namespace,
    simulation: "Simulation",
    seed: int,
    address: "Address",
    also: Iterable[str] = (),
) -> None:
    """Show on the terminal what is served, where, and how to try it; notify systemd.

    Args:
        options: of the command line.
        simulation: what is served.
        seed: of what is made up.
        address: where.
        also: what else is served, a line each.
    """
    from qgasim.scenario.shares import parse_share
    from qgasim.serving.systemd import notify

    notify("READY=1")
    agent = simulation.agent
    release, upstream = agent.dialect.full_version, getattr(options, "upstream", None)
    of_guest = f"in guest {agent.guest.hostname!r}" if upstream is None else f"behind {upstream}"
    lines = [
        f"qemu-ga {release} {of_guest}, seed {seed}",
        f"listening on {address}",
    ]
    lines += also
    lines += [f"sharing {s.host} as {s.guest}" for s in map(parse_share, options.share)]
    lines += ways_in(address)
    # The standard output may be the client's.
    file = sys.stderr if options.listen == "stdio" else sys.stdout
    if file is None:  # closed; print() would take the standard output
        return
    try:
        print("\n".join(lines), flush=True, file=file)
    except OSError:
        mute()
