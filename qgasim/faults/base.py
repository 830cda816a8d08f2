"""What all faults have in common: which requests they disturb, and when."""

import json
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from qgasim.dialect import Dialect
from qgasim.effects import Effect
from qgasim.guest.units import Duration
from qgasim.matching import Match
from qgasim.qapi.names import Aliases
from qgasim.states import State
from qgasim.wire import encode

__all__ = [
    "Exchange",
    "Fault",
    "FromUptime",
    "join_bytes",
    "read_members",
    "rewrite",
    "rewrite_value",
]


class FromUptime(Struct, frozen=True, kw_only=True):
    """A time from which on something holds, or until which, or a freeze that has lasted long."""

    #: The guest's uptime, counted from the beginning of the scenario.
    uptime: Duration = 0
    #: The guest's uptime at which it ends; absent: never.
    until: Duration | None = None
    #: *uptime* and *until* count from the guest's latest boot.
    since_boot: bool = False
    #: How long file systems must have been frozen; absent: they need not be.
    frozen_for: Duration | None = None


class Exchange(Struct, kw_only=True):
    """A request that is being disturbed, as a fault sees it."""

    #: The command's name; empty if the request is none.
    command: str
    #: Its arguments.
    arguments: dict[str, Any]
    #: The member ``id`` of its reply, as it is written; empty if it has none.
    shown_id: str
    #: The guest's uptime, in ns.
    now: int
    #: Chance: the same for the same seed.
    random: random.Random
    #: How often the fault has fired before.
    count: int
    #: How often it has since the agent's process was started.
    count_of_process: int = 0
    #: How often the fault has fired at this command before.
    count_of_command: int = 0
    #: What chance follows from, for a fault that does not depend on what else happens.
    seed: int = 0
    #: The command's result type, and the release; None if there is no such command.
    schema: tuple[Any, Dialect] | None = None
    #: What the fault calls things of the guest, in the replies to all commands.
    aliases: Aliases = field(default_factory=Aliases)
    #: Faults that, given in the place of this one, do the same to this reply.
    pins: "list[Fault]" = field(default_factory=list["Fault"])
    #: Earlier replies to this command, with the uptime of each, the latest last.
    history: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    #: Replies to be sent after the next one.
    late: list[bytes] = field(default_factory=list[bytes])
    #: Replies to be sent in the reverse order, when all that came together is answered.
    reordered: list[bytes] = field(default_factory=list[bytes])
    #: Executes the request as if it were an earlier uptime; None if that time is not known.
    recall: Callable[[int], bytes | None] = lambda _: None
    #: Ends the agent's process; after so many ns it starts again, None: as the agent's options say.
    crash: Callable[[int | None], None] = lambda _: None


class Fault(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Something that goes wrong. Faults compose in the order in which they are written."""

    #: A command (``*`` and ``?`` are wildcards), or a command with patterns of its arguments.
    on: str | Match = "*"
    #: How many matching requests go well first.
    after: int = 0
    #: How often it fires; absent: without limit.
    times: int | None = None
    #: It fires on every Nth matching request.
    every: int = 1
    #: The chance that it fires when it could.
    probability: float = 1.0
    #: The state of the guest in which it fires, or the uptime from which it does.
    when: State | FromUptime | None = None
    #: What it is called, to be switched on and off.
    name: str = ""

    def before(self, exchange: Exchange) -> bytes | None:
        """Return the reply that stands in for the command's; None: let the command run."""
        return None

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Return what becomes of the effects of the request."""
        return effects

    def follow(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Return what becomes of the effects of a request at which it does not fire, but has aliases."""
        return effects


def join_bytes(effects: list[Effect]) -> bytes:
    """Return all bytes of *effects*."""
    return b"".join(effect for effect in effects if isinstance(effect, bytes))


def rewrite(effects: list[Effect], change: Callable[[bytes], bytes]) -> list[Effect]:
    """Change the reply as a whole; it is sent where its first piece was."""
    reply = join_bytes(effects)
    if not reply:
        return effects
    changed: list[Effect] = []
    is_done = False
    for effect in effects:
        if not isinstance(effect, bytes):
            changed.append(effect)
        elif not is_done:
            changed.append(change(reply))
            is_done = True
    return changed


def read_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members in an order in which `encode` writes them as they are.

    Of those in one bucket, a QDict has the latest first.
    """
    return dict(reversed(pairs))


def rewrite_value(effects: list[Effect], change: Callable[[Any], Any]) -> list[Effect]:
    """Change the value that is returned; an error, or what is no reply, stays as it is."""

    def change_reply(reply: bytes) -> bytes:
        start = b"\xff" if reply.startswith(b"\xff") else b""
        try:
            message = json.loads(reply.removeprefix(b"\xff"), object_pairs_hook=read_members)
            message["return"] = change(message["return"])
        except (ValueError, RecursionError, KeyError, TypeError):
            return reply
        return start + encode(message).encode("ascii") + b"\n"

    return rewrite(effects, change_reply)
