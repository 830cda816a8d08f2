"""The guest that the environment names, started as the command line says."""

import os
from typing import Final

from msgspec import structs

from qgasim import DEFAULT_SCENARIO
from qgasim.agent import Agent
from qgasim.errors import QgaSimError
from qgasim.scenario import Blueprint, load, remember_place
from qgasim.scenario.shares import Share, parse_share
from qgasim.simulation.channel import UnixListen
from qgasim.simulation.simulation import Simulation
from qgasim.standin.config import PORT_METHODS, Config

__all__ = ["build", "find_share", "freeze", "plan"]

_OS_RELEASE_LIMIT: Final = 1 << 16


def plan(*, has_port: bool = False) -> Blueprint:
    """Return the blueprint of ``QGASIM_SCENARIO`` with the release of ``QGASIM_AGENT``.

    Raises:
        QgaSimError: it cannot be made.
    """
    scenario = load(os.environ.get("QGASIM_SCENARIO") or DEFAULT_SCENARIO)
    if release := os.environ.get("QGASIM_AGENT"):
        scenario.agent.release = release
        remember_place(scenario, "agent.release", "QGASIM_AGENT")
    # A port that was opened is as slow as it is: it is not to be slowed down as isa-serial is.
    scenario.agent.channel = "virtio-serial" if has_port else "unix-listen"
    return Blueprint(scenario)


def build(config: Config) -> Simulation:
    """Make the guest as the environment and *config* describe it; return the simulation.

    Raises:
        QgaSimError: it cannot be made.
    """
    blueprint = plan(has_port=config.texts["method"] in PORT_METHODS)
    options = blueprint.options
    blueprint.options = structs.replace(
        options,
        respawn=None,
        block_rpcs=(*options.block_rpcs, *config.blocked),
        allow_rpcs=(*options.allow_rpcs, *config.allowed),
        fsfreeze_hook=config.texts.get("fsfreeze-hook", options.fsfreeze_hook),
    )
    share = find_share()
    simulation = blueprint.build(shares=[share] if share else [])
    if isinstance(simulation.channel, UnixListen):
        simulation.channel.reopens = config.flags["retry-path"]
    if share and not config.flags["daemon"]:
        _start_in(simulation.agent, share)
    if path := os.environ.get("QGA_OS_RELEASE"):
        _show_os_release(simulation.agent, path)
    return simulation


def find_share() -> Share | None:
    """Return the folder of ``QGASIM_SHARE``, if it is set.

    Raises:
        QgaSimError: it cannot be shared.
    """
    text = os.environ.get("QGASIM_SHARE")
    return parse_share(text) if text else None


def _start_in(agent: Agent, share: Share) -> None:
    """Make the agent's working directory the one where it was started, if that is in the folder."""
    inside = os.path.relpath(os.getcwd(), os.path.realpath(share.host))
    if agent.process is not None and inside.split("/")[0] != "..":
        agent.process.cwd = os.path.normpath(f"{share.guest}/{inside}")


def _show_os_release(agent: Agent, path: str) -> None:
    """Copy a file of the host to the guest's /etc/os-release."""
    try:
        with open(path, "rb") as file:
            content = file.read(_OS_RELEASE_LIMIT)
    except OSError as error:
        raise QgaSimError(f"{path}: {error.strerror}") from None
    agent.guest.files.remove_if_there("/etc/os-release")
    agent.guest.files.write("/etc/os-release", content)


def freeze(agent: Agent, paths: list[str]) -> None:
    """Freeze the agent, and the file systems mounted at *paths*."""
    for mount in agent.guest.files.mounts:
        if mount.path in paths:
            mount.volume.is_frozen = True
    agent.freeze()
