"""What is in a guest: files, processes, and its agent asked as by a client."""

import base64
import stat
from typing import Any, Final

import trio
from msgspec import UNSET, Struct, field

from qgasim.client.trio import Client
from qgasim.control.control import Control
from qgasim.control.guests import ControlledGuest
from qgasim.control.registry import refusing, route
from qgasim.errors import ClientError
from qgasim.guest import Guest
from qgasim.guest.files.nodes import Regular
from qgasim.guest.units import SECOND, Duration
from qgasim.http.answers import write_json
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer
from qgasim.serving.listen import TcpAddress, UnixAddress, parse_address

__all__ = [
    "AgentCall", "AgentReply", "Exec", "ExecResult", "FileEntry", "ProcessView", "call",
    "delete_file", "execute", "kill", "list_processes", "read_file", "write_file",
]  # fmt: skip

CHAPTER = "Inside the guest"
#: The largest file that is sent.
FILE_LIMIT: Final = 64 << 20
#: How long to wait for an agent's answer at most, in seconds.
LONGEST: Final = 3600
#: How often is asked whether a program has ended: at first, and at most, in seconds.
FIRST_POLL: Final = 0.005
LAST_POLL: Final = 0.25
PLACE: Final = "/v1/guests/{name}/files/{file:path}"


class FileEntry(Struct, kw_only=True):
    """A file, in the list of a directory."""

    #: Its name.
    name: str
    #: What it is.
    kind: str
    #: How many bytes it has.
    size: int
    #: Its permissions, in octal.
    mode: str


_KINDS: Final = {
    stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFSOCK: "socket",
}  # fmt: skip


def _inner(guest: Guest, file: str) -> str:
    """Return the path in the guest of what stands behind ``files/``."""
    return guest.inner_path(file if guest.is_windows else f"/{file}")


def _size(node: Any) -> int:
    return node.length if isinstance(node, Regular) else node.st_size or 0


def _list(guest: Guest, path: str) -> list[FileEntry]:
    found: list[FileEntry] = []
    for name in guest.files.listdir(path):
        node = guest.files.get(f"{path.rstrip('/')}/{name}", follow=False)
        kind = _KINDS.get(stat.S_IFMT(node.st_mode), "file")
        mode = f"{stat.S_IMODE(node.st_mode):04o}"
        found.append(FileEntry(name=name, kind=kind, size=_size(node), mode=mode))
    return found


@route(
    f"GET {PLACE}",
    chapter=CHAPTER,
    produces="application/octet-stream",
    alternatives=("application/json",),
    problems={413: "The file is larger than 64 MiB."},
)
def read_file(control: Control, name: str, file: str) -> Answer:
    """Return what a file of the guest holds; of a directory, the list of its files as JSON."""
    guest = control.guest(name)
    machine = guest.simulation.guest

    def read() -> Answer:
        machine.settle()
        path = _inner(machine, file)
        if machine.files.is_dir(path):
            return Answer(body=write_json(_list(machine, path)), media_type="application/json")
        data = machine.files.read(path, limit=FILE_LIMIT)
        return Answer(body=data, media_type="application/octet-stream")

    with refusing():
        return guest.call(read)


@route(f"PUT {PLACE}", chapter=CHAPTER)
def write_file(control: Control, name: str, file: str, body: bytes) -> None:
    """Write a file of the guest; directories above it that are missing are made."""
    guest = control.guest(name)
    machine = guest.simulation.guest

    def write() -> None:
        machine.settle()
        path = _inner(machine, file)
        machine.files.make_parents(path)
        machine.files.write(path, body)

    with refusing():
        guest.call(write)


@route(f"DELETE {PLACE}", chapter=CHAPTER)
def delete_file(control: Control, name: str, file: str) -> None:
    """Remove a file of the guest, or a directory with everything in it."""
    guest = control.guest(name)
    machine = guest.simulation.guest
    with refusing():
        guest.call(lambda: machine.files.remove_tree(_inner(machine, file)))


# -- processes ---------------------------------------------------------------------------------------


class ProcessView(Struct, kw_only=True):
    """A process of the guest."""

    #: Its number.
    pid: int
    #: The number of the process that started it.
    parent: int
    #: What `ps` calls it.
    name: str
    #: Its arguments, the name of the program first.
    argv: list[str]
    #: The guest's uptime at which it was started, in seconds.
    started: float


@route("GET /v1/guests/{name}/processes", chapter=CHAPTER)
def list_processes(control: Control, name: str) -> list[ProcessView]:
    """List the processes that run in the guest, its agent among them."""
    machine = control.guest(name).simulation.guest
    machine.settle()
    return [
        ProcessView(
            pid=process.pid,
            parent=process.parent,
            name=process.name,
            argv=process.argv,
            started=process.started / SECOND,
        )
        for process in machine.processes.live()
    ]


class KillQuery(Struct, kw_only=True):
    """How a process is to end."""

    #: The number of the signal.
    signal: int = 15


@route("DELETE /v1/guests/{name}/processes/{pid}", chapter=CHAPTER)
def kill(control: Control, name: str, pid: str, query: KillQuery) -> None:
    """Send a process of the guest a signal."""
    guest = control.guest(name)
    machine = guest.simulation.guest
    if not 1 <= query.signal <= 64:
        raise HttpError(422, f"signal: expected from 1 to 64, found {query.signal}")
    if pid not in {str(process.pid) for process in machine.processes.live()}:
        raise HttpError(404, f"there is no process {pid[:100]}")

    def do() -> None:
        machine.processes.kill(int(pid), query.signal)
        machine.settle()

    with refusing():
        guest.call(do)


# -- the agent ---------------------------------------------------------------------------------------


class AgentCall(Struct, kw_only=True):
    """A request to the agent."""

    #: The command.
    execute: str
    #: Its arguments.
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    #: How long to wait for the answer, in the host's time.
    timeout: Duration = 5 * SECOND


class AgentReply(Struct, kw_only=True, rename={"returned": "return"}):
    """What the agent has answered: one of the two."""

    #: What the command returns.
    returned: Any = UNSET
    #: The error, as the agent words it.
    error: Any = UNSET


class Exec(Struct, kw_only=True):
    """A program to be run in the guest."""

    #: The program.
    path: str
    #: Its arguments.
    arg: list[str] = field(default_factory=list[str])
    #: Its environment; absent: the agent's.
    env: list[str] | None = None
    #: What it reads from its standard input.
    input: str | None = None
    #: How long to wait for its end, in the host's time.
    timeout: Duration = 30 * SECOND


class ExecResult(Struct, kw_only=True):
    """How a program has ended, and what it wrote."""

    #: Its number in the guest.
    pid: int
    #: Its exit code; null: a signal has ended it.
    exitcode: int | None
    #: The signal that has ended it; null: none.
    signal: int | None
    #: What it wrote to its standard output; what is no UTF-8 as U+FFFD.
    stdout: str
    #: What it wrote to its standard error.
    stderr: str


async def _connect(guest: ControlledGuest) -> trio.abc.Stream:
    address = parse_address(guest.address)
    try:
        if isinstance(address, UnixAddress):
            return await trio.open_unix_socket(address.path)
        if isinstance(address, TcpAddress):
            return await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise HttpError(424, f"{guest.address}: {error.strerror or error}") from None
    raise HttpError(409, f"{guest.address}: only unix sockets and TCP can be called")


async def _within(guest: ControlledGuest, duration: int, function: Any) -> Any:
    """Await *function*; HttpError: it takes longer than *duration* ns, or the agent does not answer."""
    patience = duration / SECOND
    if not 0 < patience <= LONGEST:
        raise HttpError(422, f"timeout: expected above 0 and at most {LONGEST} s")

    async def do() -> Any:
        try:
            async with Client(await _connect(guest)) as client:
                return await function(client)
        except ClientError as error:
            raise HttpError(424, str(error)) from None

    try:
        with trio.fail_after(patience):
            return await guest.wait(do)
    except trio.TooSlowError:
        raise HttpError(424, f"no answer within {patience:g} s{_excuse(guest)}") from None


def _excuse(guest: ControlledGuest) -> str:
    """Return why the agent or a program has probably not answered."""
    if guest.live.source.rate == 0:
        return " (the guest's time stands still: advance its clock, or set a rate above 0)"
    if guest.is_connected:
        return " (another client is connected: one is served at a time)"
    return ""


_TROUBLE: Final = {
    410: "The guest was deleted meanwhile.",
    424: "The agent is not there, hung up, refused a step, or did not answer in time.",
}


@route("POST /v1/guests/{name}/call", chapter=CHAPTER, problems=_TROUBLE)
async def call(control: Control, name: str, body: AgentCall) -> AgentReply:
    """Ask the agent, as one more client would: connect, do the handshake, ask, and hang up."""
    guest = control.guest(name)
    message = {"execute": body.execute}
    if body.arguments:
        message["arguments"] = body.arguments  # type: ignore[assignment]

    async def ask(client: Client) -> dict[str, Any]:
        return await client.request(message)

    reply = await _within(guest, body.timeout, ask)
    return AgentReply(returned=reply.get("return", UNSET), error=reply.get("error", UNSET))


@route("POST /v1/guests/{name}/exec", chapter=CHAPTER, problems=_TROUBLE)
async def execute(control: Control, name: str, body: Exec) -> ExecResult:
    """Run a program in the guest by `guest-exec`, wait for its end, and decode what it wrote.

    While the guest's time stands still, its clock is advanced as far as the program needs it, by no more
    than `timeout` in all.
    """
    guest = control.guest(name)
    arguments: dict[str, Any] = {"path": body.path, "arg": body.arg, "capture-output": True}
    if body.env is not None:
        arguments["env"] = body.env
    if body.input is not None:
        data = body.input.encode("utf-8", "surrogateescape")
        arguments["input-data"] = base64.b64encode(data).decode()

    async def run(client: Client) -> ExecResult:
        pid = (await client.call("guest-exec", **arguments))["pid"]
        pause, end = FIRST_POLL, guest.simulation.guest.clock.uptime() + body.timeout
        while not (status := await client.call("guest-exec-status", pid=pid))["exited"]:
            if not _advance_to_next(guest, end):
                await trio.sleep(pause)
            pause = min(2 * pause, LAST_POLL)
        return ExecResult(
            pid=pid,
            exitcode=status.get("exitcode"),
            signal=status.get("signal"),
            stdout=_decode(status.get("out-data")),
            stderr=_decode(status.get("err-data")),
        )

    result: ExecResult = await _within(guest, body.timeout, run)
    return result


def _advance_to_next(guest: ControlledGuest, end: int) -> bool:
    """Advance a clock that stands still to what happens next, before the uptime *end*; return whether it was."""
    machine = guest.simulation.guest
    now, event = machine.clock.uptime(), machine.next_event()
    if guest.live.source.rate or event is None or event > end:
        return False
    # Programs work in steps of microseconds.
    guest.live.clock.advance(max((event - now) / SECOND, FIRST_POLL))
    return True


def _decode(data: str | None) -> str:
    return base64.b64decode(data or "").decode("utf-8", "replace")
