"""Commands about the conversation itself: synchronising, ping, what the agent can do."""

from typing import Annotated

from msgspec import Struct, field

from qgasim.agent import Agent
from qgasim.qapi.annotations import Exact, Form
from qgasim.qapi.registry import command

__all__: list[str] = []


@command(since=(1, 1), while_frozen=True, is_delimited=True)
def guest_sync_delimited(agent: Agent, id: int) -> int:
    """Echo *id*, with the byte 0xFF before the reply."""
    return id


@command(since=(0, 15), while_frozen=True)
def guest_sync(agent: Agent, id: int) -> int:
    """Echo *id*."""
    return id


@command(since=(0, 15), while_frozen=True)
def guest_ping(agent: Agent) -> None:
    """Do nothing."""


class CommandInfo(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestAgentCommandInfo``."""

    name: Annotated[str, Exact()]
    enabled: Annotated[bool, Exact()]
    success_response: Annotated[bool, Exact()]


class AgentInfo(Struct, frozen=True):
    """QAPI ``GuestAgentInfo``."""

    version: Annotated[str, Form("version")]
    commands: list[CommandInfo] = field(name="supported_commands")


@command(since=(0, 15), while_frozen=True)
def guest_info(agent: Agent) -> AgentInfo:
    """Return the agent's version and its commands, the latest in the schema first."""
    return AgentInfo(
        agent.dialect.full_version,
        [
            CommandInfo(name, name not in agent.commands.refused, entry.command.replies)
            for name, entry in reversed(list(agent.commands.table.items()))
        ],
    )
