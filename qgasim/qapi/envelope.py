"""What surrounds every command: the members of a request, and those of its reply."""

from qgasim.dialect import Dialect
from qgasim.errors import CommandError
from qgasim.qapi.registry import Entry
from qgasim.qapi.results import Pieces
from qgasim.wire import JsonValue, Message, encode, encode_string, hash_order

__all__ = [
    "check_envelope",
    "read_request",
    "show_id",
    "write_error",
    "write_return",
]


def read_request(message: "Message | bytes") -> tuple[str | None, dict[str, JsonValue]]:
    """Return the command and the arguments of what a client sent, as far as it has them.

    For observers; the agent itself refuses what is not as it should be (`check_envelope`).
    """
    if not isinstance(message, dict):
        return None, {}
    command, arguments = message.get("execute"), message.get("arguments")
    return (
        command if isinstance(command, str) else None,
        arguments if isinstance(arguments, dict) else {},
    )


def show_id(message: Message, dialect: Dialect) -> str:
    """Write the member ``id`` of the reply to *message*; "" for none."""
    if not (isinstance(message, dict) and "id" in message and dialect.echoes_id):
        return ""
    return f'"id": {encode(message["id"], exact_doubles=dialect.writes_exact_doubles)}'


def write_return(written: str | Pieces, entry: Entry, shown_id: str) -> bytes:
    """Write a reply; *shown_id* is its member ``id`` as it is written, "" for none."""
    end = f", {shown_id}}}\n" if shown_id else "}\n"
    if type(written) is list:
        return b"".join([b'{"return": ', *written, end.encode("ascii")])
    reply = f'{{"return": {written}{end}'.encode("ascii")
    return b"\xff" + reply if entry.command.is_delimited else reply


def write_error(error: CommandError, shown_id: str) -> bytes:
    """Write an error reply."""
    shown = f'"class": {encode_string(error.error_class)}, "desc": {encode_string(str(error))}'
    start = f"{shown_id}, " if shown_id else ""
    return f'{{{start}"error": {{{shown}}}}}\n'.encode("ascii")


def check_envelope(
    request: dict[str, JsonValue], dialect: Dialect, *, allows_oob: bool = False
) -> None:
    """Do what qmp_dispatch_check_obj() does: the members in the order of the QDict.

    *allows_oob*: ``exec-oob`` may stand in place of ``execute``.
    """
    if dialect.looks_for_execute_first and "execute" not in request:
        # qga/main.c, process_event(): "unrecognized payload format".
        raise CommandError("this feature or command is not currently supported")
    found: str | None = None
    for name in hash_order(request):
        value = request[name]
        if name == "execute" or (name == "exec-oob" and allows_oob):
            if not isinstance(value, str):
                raise _wrong_member(name, "string", dialect)
            if found is not None:
                raise CommandError(f"QMP input member '{name}' clashes with '{found}'")
            found = name
        elif name == "arguments":
            if not isinstance(value, dict):
                raise _wrong_member(name, "object", dialect)
        elif name != "id" or not dialect.echoes_id:
            raise CommandError(dialect.extra_member_text.format(name=name))
    if found is None:
        raise CommandError("QMP input lacks member 'execute'")


def _wrong_member(name: str, kind: str, dialect: Dialect) -> CommandError:
    article = "an" if kind == "object" else "a"
    return CommandError(dialect.wrong_member_text.format(name=name, kind=kind, article=article))
