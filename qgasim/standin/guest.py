"""The guest that the environment names, started as the command line says."""

import os
from typing import Final

from msgspec import structs

from qgasim.agent import Agent
from qgasim.channel import Channel
from qgasim.errors import QgaSimError
from qgasim.scenario import Blueprint, load
from qgasim.standin.config import Config

__all__ = ["DEFAULT_SCENARIO", "build", "freeze"]

DEFAULT_SCENARIO: Final = "debian-12"
_OS_RELEASE_LIMIT: Final = 1 << 16


def build(config: Config) -> Channel:
    """Make the guest of ``QGASIM_SCENARIO``, with all that the environment says about it.

    Raises:
        QgaSimError: it cannot be made.
    """
    scenario = load(os.environ.get("QGASIM_SCENARIO") or DEFAULT_SCENARIO)
    settings = scenario.agent
    if release := os.environ.get("QGASIM_AGENT"):
        settings.release = release
    method = config.texts["method"]
    # A port that was opened is as slow as it is: it is not to be slowed down as isa-serial is.
    settings.channel = (
        method if method in ("unix-listen", "vsock-listen") else "virtio-serial"  # type: ignore[assignment]
    )
    blueprint = Blueprint(scenario)
    options = blueprint.options
    # Past the checks of scenarios: qemu-ga takes names that no release has.
    blueprint.options = structs.replace(
        options,
        respawn=None,
        block_rpcs=(*options.block_rpcs, *config.blocked),
        allow_rpcs=(*options.allow_rpcs, *config.allowed),
        fsfreeze_hook=config.texts.get("fsfreeze-hook", options.fsfreeze_hook),
    )
    channel = blueprint.build()
    if path := os.environ.get("QGA_OS_RELEASE"):
        _show_os_release(channel.agent, path)
    return channel


def _show_os_release(agent: Agent, path: str) -> None:
    """Have the guest show a file of the host as its /etc/os-release."""
    try:
        with open(path, "rb") as file:
            content = file.read(_OS_RELEASE_LIMIT)
    except OSError as error:
        raise QgaSimError(f"{path}: {error.strerror}") from None
    agent.guest.files.remove_if_there("/etc/os-release")
    agent.guest.files.write("/etc/os-release", content)


def freeze(agent: Agent, paths: list[str]) -> None:
    """Have the agent begin frozen, with the file systems mounted at *paths* frozen, too."""
    for mount in agent.guest.files.mounts:
        if mount.path in paths:
            mount.volume.is_frozen = True
    agent.freeze()
