"""How a process answers a request, and the net around that: whatever is raised ends one request only."""

from typing import Final

from qgasim.agent.command_set import CommandSet
from qgasim.agent.dispatch import find_answer, resolve, send_nothing
from qgasim.agent.failures import explain_failure, is_of_guest, refuse
from qgasim.agent.lifecycle import Lifecycle
from qgasim.agent.observer import Observer
from qgasim.agent.stubs import write_stubbed
from qgasim.dialect import Dialect
from qgasim.errors import AgentAbort, CommandError
from qgasim.guest import Guest
from qgasim.qapi.envelope import read_request, show_id, write_error, write_return
from qgasim.wire import Message

__all__ = ["Answering"]

#: How much of a command's name an error about a failure shows.
NAME_LIMIT: Final = 100


class Answering(Lifecycle):
    """A process that answers requests; `Agent` says when each has its turn."""

    #: What it can be asked for, and by which release.
    commands: CommandSet
    dialect: Dialect

    def __init__(self, guest: Guest, respawn: int | None) -> None:
        super().__init__(guest, respawn)
        #: Called in this order as things happen.
        self.observers: list[Observer] = []
        #: The first error that was neither a client's nor the guest's: a bug, or a limit of the host.
        self.failure: Exception | None = None
        #: False while the channel lets it execute what a client that has gone had asked for, and keeps no replies.
        self.is_heard = True

    def fail(self, what: str, error: Exception) -> None:
        """Note an error of qgasim or of the host, which ends neither the agent nor its server."""
        self.failure = self.failure or error
        text = explain_failure(what, error)
        for observer in self.observers:
            observer.failed(text)

    def note_limit(self, text: str) -> None:
        """Note that a limit of qgasim has ended something in the guest, as *text* says."""
        for observer in self.observers:
            observer.failed(text)

    def answer(self, message: Message) -> bytes:
        """Execute a request; return the reply."""
        shown_id = ""
        try:
            if type(message) is dict:
                commands, dialect = self.commands, self.dialect
                if "id" in message:
                    shown_id = show_id(message, dialect)
                entry, arguments = resolve(message, commands.table, commands.refused, dialect)
                name = entry.command.name
                if (stubs := commands.stubs.get(name)) and (
                    stubbed := find_answer(stubs, entry, arguments)
                ) is not None:
                    return write_stubbed(stubbed, entry, shown_id)
                result = entry.call(self, arguments)
                for observer in self.observers:
                    observer.executed(name, arguments, result)
                if entry.command.replies:
                    return write_return(entry.write(result), entry, shown_id)
                return send_nothing(dialect)
            if isinstance(message, CommandError):
                raise message.with_traceback(None)  # noqa: TRY301
            raise CommandError(self.dialect.no_object_text)  # noqa: TRY301
        except AgentAbort as abort:
            self.crash(by=abort.signal)
            return b""
        except CommandError as error:
            return write_error(error, shown_id)
        except Exception as error:  # noqa: BLE001
            command = str(read_request(message)[0])[:NAME_LIMIT]
            if not is_of_guest(error):
                self.fail(command, error)
            return write_error(refuse(command, error), shown_id)

    def tell(self, message: Message, reply: bytes) -> None:
        """Notify observers of what was asked and answered."""
        for observer in self.observers:
            observer.exchanged(message, reply)
