"""A fleet: several guests in one process, a socket for each."""

import argparse
import os
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from qgasim.cli.hints import ways_in
from qgasim.cli.log import LiveLog
from qgasim.cli.parser import mute
from qgasim.cli.ready import write_ready
from qgasim.errors import QgaSimError
from qgasim.scenario import Scenario
from qgasim.serving.foreground import PARENT_INTERVAL, ending_signals, settle_memory
from qgasim.serving.listen import UnixAddress
from qgasim.serving.systemd import notify
from qgasim.serving.threads import ServerThreadPool

if TYPE_CHECKING:
    from qgasim.simulation.simulation import Simulation

__all__ = ["describe_fleet", "fleet_directory", "introduce_fleet", "serve_fleet"]


def serve_fleet(
    options: argparse.Namespace,
    scenario: Scenario,
    directory: str,
    log: LiveLog,
) -> None:
    """Serve each guest at ``DIRECTORY/NAME.sock`` until a signal; see `ending_signals`.

    Args:
        options: of the command line.
        scenario: a fleet.
        directory: it is made if it is not there.
        log: what happens is written there.
    """
    simulations = {name: guest.build() for name, guest in scenario.fleet.items()}
    addresses = {name: UnixAddress(f"{directory}/{name}.sock") for name in simulations}
    parent = os.getppid()
    # Before the thread is there, so that it leaves them to this one; one that comes before that waits.
    signals = ending_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with (
            fleet_directory(directory),
            ServerThreadPool(is_strict=False, tells_waiting=bool(log.outputs)) as pool,
        ):
            for name, simulation in simulations.items():
                log.observe(simulation, name)
                pool.serve(simulation, addresses[name])
            settle_memory()
            if options.ready_fd is not None:
                line = describe_fleet(scenario, simulations, addresses, directory)
                write_ready(options.ready_fd, line)
            introduce_fleet(scenario, simulations, addresses)
            while not signal.sigtimedwait(signals, PARENT_INTERVAL):
                if options.exit_with_parent and os.getppid() != parent:
                    break
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def fleet_directory(directory: str) -> Generator[None]:
    """Make the directory of a fleet's sockets, if it is not there, and remove what was made."""
    is_made = True
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        is_made = False
    except OSError as error:
        raise QgaSimError(f"{directory}: cannot make the directory: {error.strerror}") from None
    try:
        yield
    finally:
        if is_made:
            with suppress(OSError):
                os.rmdir(directory)


def describe_fleet(
    scenario: Scenario,
    simulations: "Mapping[str, Simulation]",
    addresses: Mapping[str, UnixAddress],
    directory: str,
) -> dict[str, Any]:
    """Return the ready line: of each guest what that of one guest has."""
    return {
        "address": f"unix:{directory}",
        "path": directory,
        "pid": os.getpid(),
        "fleet": {
            name: {
                "address": str(addresses[name]),
                "path": addresses[name].path,
                "agent": simulation.agent.dialect.full_version,
                "hostname": simulation.guest.hostname,
                "seed": scenario.fleet[name].seed,
            }
            for name, simulation in simulations.items()
        },
    }


def introduce_fleet(
    scenario: Scenario,
    simulations: "Mapping[str, Simulation]",
    addresses: Mapping[str, UnixAddress],
    control: str | None = None,
) -> None:
    """Show on the terminal what is served, where, and how to try it; notify systemd.

    *control*: the address of the API.
    """
    notify("READY=1")
    lines = [f"a fleet of {len(simulations)} guests, seed {scenario.seed}"]
    width = max(map(len, simulations))
    for name, simulation in simulations.items():
        version = simulation.agent.dialect.full_version
        lines.append(f"{name:{width}}  qemu-ga {version}  listening on {addresses[name]}")
    if control is not None:
        lines.append(f"control at {control}")
    lines += ways_in(next(iter(addresses.values())))
    try:
        print("\n".join(lines), flush=True)
    except OSError:
        mute()
