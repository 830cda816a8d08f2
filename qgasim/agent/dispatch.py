"""From a request to the command that answers it: functions of a table and a message."""

from qgasim.agent.refusals import Refusals
from qgasim.agent.stubs import ArmedStub, Reply
from qgasim.dialect import Dialect
from qgasim.errors import AgentAbort, CommandError, CommandNotFound
from qgasim.qapi.envelope import check_envelope
from qgasim.qapi.registry import Arguments, Entry, Table
from qgasim.wire import JsonValue

__all__ = ["find_answer", "resolve", "send_nothing"]


def resolve(
    request: dict[str, JsonValue], table: Table, refused: Refusals, dialect: Dialect
) -> tuple[Entry, Arguments]:
    """Return the command of a request and its arguments, checked as qapi/qmp-dispatch.c does.

    Raises:
        CommandError: the envelope is wrong, the command is unknown or refused.
    """
    name = request.get("execute")
    arguments = request.get("arguments")
    count = len(request)
    if "id" in request and dialect.echoes_id:
        count -= 1
    if not (type(name) is str and (count == 1 or (count == 2 and type(arguments) is dict))):
        check_envelope(request, dialect)
    assert isinstance(name, str)
    entry = table.get(name)
    if entry is None:
        raise CommandNotFound(f"The command {name} has not been found")
    if refused and name in refused:
        error = CommandError(refused[name])
        error.error_class = dialect.refused_class
        raise error
    return entry, arguments if isinstance(arguments, dict) else {}


def find_answer(stubs: tuple[ArmedStub, ...], entry: Entry, arguments: Arguments) -> Reply | None:
    """Return what the first stub says that matches; None: the guest answers.

    Raises:
        CommandError: the release refuses these arguments.
    """
    entry.check(arguments)
    for stub in stubs:
        reply = stub.answer(arguments)
        if reply is not None:
            return reply
    return None


def send_nothing(dialect: Dialect) -> bytes:
    """Return what is sent for a command that does not answer its success (qga/main.c, process_event()).

    Raises:
        AgentAbort: the release asserts that there is something to send.
    """
    if dialect.aborts_without_reply:
        raise AgentAbort
    return b""
