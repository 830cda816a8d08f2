"""The commands that one agent has: those of its release, as its options, stubs and state leave them."""

from collections.abc import Callable, Iterable

from msgspec import structs

from qgasim.agent.options import AgentOptions
from qgasim.agent.personality import alter
from qgasim.agent.refusals import Refusals, refuse_blocked, refuse_frozen, serve_thawed
from qgasim.agent.stubs import ArmedStub, Stub
from qgasim.dialect import Dialect
from qgasim.guest.settings import OsSettings
from qgasim.matching import Match
from qgasim.qapi.registry import Command, Table, compile_table, make_added

__all__ = ["CommandSet"]


class CommandSet:
    """A table of commands, with what is refused and what stubs answer.

    The table is the release's, shared by all agents, unless a personality or a stub alters it; refusals
    and stubs are the agent's own.
    """

    def __init__(
        self,
        commands: Iterable[Command],
        dialect: Dialect,
        system: OsSettings,
        options: AgentOptions,
    ) -> None:
        self._dialect = dialect
        self._options = options
        table = compile_table(commands, dialect, system.family, has_vss=system.has_vss)
        table = alter(table, options.personality)
        for stub in options.stubs:
            if stub.adds:
                table = {**table, _command_of(stub): make_added(_command_of(stub), dialect)}
        #: The commands in the order of the schema, those that are refused included.
        self.table: Table = table
        #: What answers in place of the guest, first match first, by command.
        self.stubs: dict[str, tuple[ArmedStub, ...]] = {}
        #: All stubs, first match first.
        self.armed: list[ArmedStub] = []
        #: How many stubs there are, and were.
        self.count = len(options.stubs)
        for number, stub in reversed(list(enumerate(options.stubs, 1))):
            armed = ArmedStub(stub, number)
            self._arm(armed)
            self.armed.insert(0, armed)
        #: What is refused for good, and what at present.
        self.blocked: Refusals = {}
        self.refused: Refusals = {}

    def _arm(self, stub: ArmedStub) -> bool:
        """Let *stub* answer before all others; return whether there is such a command."""
        names = [name for name in self.table if stub.matches_command(name)]
        for name in names:
            self.stubs[name] = (stub, *self.stubs.get(name, ()))
        return bool(names)

    def add_stub(self, stub: Stub) -> ArmedStub:
        """Let *stub* answer before all others; return it as it is here.

        Raises:
            KeyError: the release has no such command.
        """
        armed = ArmedStub(stub, self.count + 1)
        if not self._arm(armed):
            raise KeyError(_command_of(stub))
        self.count += 1
        self.armed.insert(0, armed)
        return armed

    def remove_stub(self, armed: ArmedStub) -> None:
        """Let a stub answer no more; nothing happens if it is not there any more."""
        self.armed[:] = [other for other in self.armed if other is not armed]
        for name, stubs in list(self.stubs.items()):
            left = tuple(other for other in stubs if other is not armed)
            if left:
                self.stubs[name] = left
            else:
                del self.stubs[name]

    def keep_stubs(self, earlier: "CommandSet") -> None:
        """Take over the stubs of an *earlier* set, with what they have counted."""
        self.stubs.clear()
        self.armed[:], self.count = earlier.armed, earlier.count
        for armed in reversed(self.armed):
            self._arm(armed)

    def block(self, names: Iterable[str]) -> None:
        """Refuse these commands, and no others that were blocked, from the next start of the agent."""
        self._options = structs.replace(self._options, block_rpcs=tuple(names))

    def refuse_at_start(self, *, is_frozen: bool) -> None:
        """Refuse what the command line says, and what may not be done in a guest that is frozen."""
        self.blocked = self.refused = refuse_blocked(
            self.table,
            self._dialect,
            blocked=self._options.block_rpcs,
            allowed=self._options.allow_rpcs or None,
        )
        if is_frozen:
            self.refused = refuse_frozen(self.blocked, self.table, self._dialect, at_start=True)

    def refuse_frozen(self) -> None:
        """Refuse from now on what may not be done while file systems are frozen."""
        self.refused = refuse_frozen(self.refused, self.table, self._dialect)

    def serve_thawed(self) -> None:
        """Serve everything again that is not blocked."""
        self.refused = serve_thawed(self.refused, self.blocked, self._dialect)

    def save(self) -> Callable[[], None]:
        """Return a function that refuses again what is refused now."""
        blocked, refused = self.blocked, self.refused

        def put_back() -> None:
            self.blocked, self.refused = blocked, refused

        return put_back


def _command_of(stub: Stub) -> str:
    return stub.on.command if isinstance(stub.on, Match) else stub.on
