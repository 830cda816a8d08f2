"""The commands that one agent has: those of its release, as its options, stubs and state leave them."""

from collections.abc import Callable, Iterable

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
        for stub in reversed(options.stubs):
            self._arm(ArmedStub(stub))
        #: What is refused for good, and what at present.
        self.blocked: Refusals = {}
        self.refused: Refusals = {}

    def _arm(self, stub: ArmedStub) -> bool:
        """Let *stub* answer before all others; return whether there is such a command."""
        names = [name for name in self.table if stub.matches_command(name)]
        for name in names:
            self.stubs[name] = (stub, *self.stubs.get(name, ()))
        return bool(names)

    def add_stub(self, stub: Stub) -> None:
        """Let *stub* answer before all others.

        Raises:
            KeyError: the release has no such command.
        """
        if not self._arm(ArmedStub(stub)):
            raise KeyError(_command_of(stub))

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
        attributes = vars(self).copy()
        return lambda: vars(self).update(attributes)


def _command_of(stub: Stub) -> str:
    return stub.on.command if isinstance(stub.on, Match) else stub.on
