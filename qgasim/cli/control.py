"""Serve a guest, or a fleet, with the control API beside it."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final

from qgasim.cli.fleet import describe_fleet, fleet_directory, introduce_fleet
from qgasim.cli.introduction import describe_guest, introduce_guest
from qgasim.cli.log import open_log
from qgasim.cli.options import make_blueprint, with_options
from qgasim.cli.ready import write_ready
from qgasim.control.guests import ControlledGuest, Start
from qgasim.control.start import run
from qgasim.http.access import Access
from qgasim.scenario import Blueprint, Scenario
from qgasim.scenario.shares import parse_share
from qgasim.serving.listen import (
    Address,
    Stdio,
    TcpAddress,
    UnixAddress,
    name_address,
    parse_address,
)
from qgasim.serving.server import Server

__all__ = ["ONLY", "serve_fleet_with_control", "serve_with_control"]

#: What a guest is called that is none of a fleet.
ONLY: Final = "guest"
_OnReady = Callable[[Mapping[str, ControlledGuest], UnixAddress | TcpAddress], None]


def serve_with_control(
    options: argparse.Namespace,
    scenario: Scenario,
    address: Address | None,
    directory: str,
    access: Access,
) -> None:
    """Serve one guest and the API until a signal.

    Args:
        options: of the command line.
        scenario: of the guest.
        address: where; None: a unix socket in *directory*.
        directory: of the sockets that are given no address.
        access: where the API is served, and its access rules.
    """
    places = map(parse_address, options.qmp)
    start = Start(
        blueprint=make_blueprint(scenario, options),
        address=address or UnixAddress(f"{directory}/qga.sock"),
        qmp=tuple(place for place in places if not isinstance(place, Stdio)),
        shares=tuple(map(parse_share, options.share)),
    )

    def on_ready(guests: Mapping[str, ControlledGuest], control: UnixAddress | TcpAddress) -> None:
        guest = guests[ONLY]
        where, simulation = parse_address(guest.address), guest.simulation
        if options.ready_fd is not None:
            line = describe_guest(simulation, scenario.seed, where)
            line |= {"name": ONLY, "control": name_address(control)}
            if guest.qmp_addresses:
                line["qmp"] = [str(each) for each in guest.qmp_addresses]
            write_ready(options.ready_fd, line)
        also = [f"monitor (QMP) on {each}" for each in guest.qmp_addresses]
        also.append(f"control at {name_address(control)}")
        introduce_guest(options, simulation, scenario.seed, where, also)

    _run(options, {ONLY: start}, access, directory, on_ready)


def serve_fleet_with_control(
    options: argparse.Namespace, scenario: Scenario, sockets: str, directory: str, access: Access
) -> None:
    """Serve the guests of a fleet and the API until a signal.

    Args:
        options: of the command line.
        scenario: a fleet.
        sockets: the directory of the fleet's sockets; it is made if it is not there.
        directory: that of guests which are created later.
        access: where the API is served, and its access rules.
    """
    starts = {
        name: Start(
            blueprint=Blueprint(with_options(guest, options)),
            address=UnixAddress(f"{sockets}/{name}.sock"),
        )
        for name, guest in scenario.fleet.items()
    }

    def on_ready(guests: Mapping[str, ControlledGuest], control: UnixAddress | TcpAddress) -> None:
        simulations = {name: guest.simulation for name, guest in guests.items()}
        addresses = {name: UnixAddress(f"{sockets}/{name}.sock") for name in guests}
        if options.ready_fd is not None:
            line: dict[str, Any] = describe_fleet(scenario, simulations, addresses, sockets)
            write_ready(options.ready_fd, line | {"control": name_address(control)})
        introduce_fleet(scenario, simulations, addresses, control=name_address(control))

    with fleet_directory(sockets):
        _run(options, starts, access, directory, on_ready)


def _run(
    options: argparse.Namespace,
    starts: Mapping[str, Start],
    access: Access,
    directory: str,
    on_ready: _OnReady,
) -> None:
    log = open_log(options)

    def on_made(name: str, server: Server) -> None:
        server.tells_waiting = bool(log.outputs)
        log.observe(server.simulation, "" if name == ONLY and ONLY in starts else name)

    with log:
        run(starts, access, directory, on_made, on_ready, ends_with_parent=options.exit_with_parent)
