"""What an agent remembers as long as its process lives."""

from msgspec import Struct, field

from qgasim.agent.handles import Execution, FileHandle
from qgasim.agent.options import AgentOptions
from qgasim.dialect import Dialect
from qgasim.wire import FirstReader, LineReader, LocatingReader, Message, MessageReader, OldReader

__all__ = ["AgentState", "make_reader", "new_state"]


class AgentState(Struct, eq=False):
    """The memory of one process: a process that is started anew begins with a new one."""

    #: Reads what the client sends, and has half a request between two reads.
    reader: MessageReader
    #: Open files, by the numbers that clients have for them.
    handles: dict[int, FileHandle] = field(default_factory=dict[int, FileHandle])
    #: What guest-exec started and guest-exec-status has not yet reported, by pid.
    executions: dict[int, Execution] = field(default_factory=dict[int, Execution])
    #: What a command has found out and keeps for good, by name (C's static variables).
    known: dict[str, bool] = field(default_factory=dict[str, bool])
    #: The guest's name when it was first asked for, in releases that keep it.
    host_name: str | None = None
    #: The uptime at which it began to form averages of the load (Windows).
    load_since: int | None = None
    #: The uptime until which the reply to the latest command waits, for helper programs or because of a
    #: fault; 0: it goes at once.
    busy_until: int = 0
    #: Requests that were read before the machine fell asleep.
    deferred: list[Message] = field(default_factory=list[Message])


def new_state(options: AgentOptions, dialect: Dialect) -> AgentState:
    """Return the memory of a process that has just started."""
    reader = make_reader(dialect)
    return AgentState(LineReader(reader) if options.needs_newline else reader)


def make_reader(dialect: Dialect) -> MessageReader:
    """Return a reader of what a client sends, as a release of QEMU reads it."""
    if dialect.has_first_parser:
        return FirstReader()
    if dialect.locates_parse_errors:
        return LocatingReader()
    mistakes = {
        "drops_percent": dialect.drops_percent,
        "replaces_duplicates": dialect.replaces_duplicates,
        "ignores_extra_braces": dialect.ignores_extra_braces,
    }
    return OldReader(**mistakes) if any(mistakes.values()) else MessageReader()
