"""`qgasim compare`: our own server, the real qemu-ga and what is no agent, in the real agent's place."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qgasim import DEFAULT_SCENARIO
from qgasim.cli import main
from qgasim.client.connecting import parse_agent_address
from qgasim.commands import ALL_COMMANDS
from qgasim.compare import Comparison, RealAgent, compare
from qgasim.compare.probes import HANDLE, probes_of
from qgasim.compare.shapes import find_misfits, spell
from qgasim.compare.survey import GUESTS
from qgasim.dialect import RELEASES
from qgasim.errors import ClientError
from qgasim.qapi.registry import compile_table, make_added
from qgasim.scenario import load, loads
from qgasim.serving.listen import TcpAddress, UnixAddress
from qgasim.serving.threads import ServerThread
from qgasim.simulation.simulation import Simulation
from qgasim.wire import LocatingReader, MessageReader
from tests.real_agent import RealAgent as QemuGa
from tests.real_agent import needs_qemu_ga
from tests.serving import PATIENCE, Course

NAMES = ["{}.{}".format(*version) for version in RELEASES]
#: The first and the last release of each reader (`qgasim/wire`), and the usual one.
TELLING = ["2.12", "3.1", "7.2", "10.2", "11.1"]
#: What changes, runs or stops something; freezing counts, thawing too.
CHANGING = {
    command.name
    for command in ALL_COMMANDS
    if any(
        word in command.name for word in ("set-", "shutdown", "suspend", "trim", "add-", "remove-")
    )
} | {"guest-exec", "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw"}


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


def build(release: str = "7.2", scenario: str = "debian-12", **agent: Any) -> Simulation:
    loaded = load(scenario)
    loaded.agent.release = release
    for name, value in agent.items():
        setattr(loaded.agent, name, value)
    return loaded.build()


def compare_with(simulation: Simulation, directory: Path, **options: Any) -> Comparison:
    with (
        ServerThread(simulation, str(directory / "s")) as server,
        RealAgent(parse_agent_address(str(server.address)), PATIENCE) as real,
    ):
        return compare(real, **options)


def words(result: Comparison) -> list[str]:
    return [difference.what for difference in result.differences]


# -- agents that answer alike ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("release", ["7.2", *map(slow, sorted({*TELLING} - {"7.2"}))])
def test_our_own_agent_does_not_differ_from_itself(release: str, tmp_path: Path) -> None:
    result = compare_with(build(release), tmp_path)
    assert result.differences == []
    assert result.notes == []
    assert result.asked > 500
    assert result.release == result.version


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [DEFAULT_SCENARIO, *map(slow, GUESTS.values())])
def test_a_system_is_compared_with_the_most_similar_guest(scenario: str, tmp_path: Path) -> None:
    result = compare_with(load(scenario).build(), tmp_path)
    assert result.scenario == scenario
    assert result.differences == []
    assert len(result.notes) <= 1


@needs_qemu_ga
def test_the_real_agent_does_not_differ(tmp_path: Path) -> None:
    with QemuGa(tmp_path) as real:
        real.socket.close()
        with RealAgent(UnixAddress(str(real.path)), PATIENCE) as connection:
            result = compare(connection)
    assert [(d.request, d.real, d.simulated) for d in result.differences] == []
    assert result.asked > 600
    assert any("disabled in the real agent" in note for note in result.notes)


@pytest.mark.slow
def test_an_agent_on_tcp_can_be_compared(tmp_path: Path) -> None:
    with (
        ServerThread(build(), TcpAddress("127.0.0.1", 0)) as server,
        RealAgent(parse_agent_address(str(server.address)), PATIENCE) as real,
    ):
        result = compare(real)
    assert result.differences == []


@pytest.mark.slow
def test_what_the_machine_has_is_not_compared(tmp_path: Path) -> None:
    result = compare_with(build("7.2.22", "lab-vm"), tmp_path, scenario="debian-12")
    assert result.differences == []


@pytest.mark.slow
def test_commands_that_are_blocked_are_told_of_once(tmp_path: Path) -> None:
    simulation = build(block_rpcs=["guest-file-read", "guest-get-osinfo", "guest-exec"])
    result = compare_with(simulation, tmp_path)
    assert result.differences == []
    assert result.notes == [
        (
            "disabled in the real agent, so in the simulated one, too: "
            "guest-exec, guest-file-read, guest-get-osinfo"
        )
    ]


@pytest.mark.slow
def test_a_blocked_command_that_qgasim_does_not_know_is_no_trouble(tmp_path: Path) -> None:
    simulation = build()
    agent = simulation.agent
    agent.commands.table = {
        **agent.commands.table,
        "guest-new": make_added("guest-new", agent.dialect),
    }
    agent.commands.refused = {**agent.commands.refused, "guest-new": "no"}
    (difference,) = compare_with(simulation, tmp_path).differences
    assert (difference.real, difference.simulated) == (b'["guest-new"]', b"[]")


@pytest.mark.slow
def test_commands_that_only_the_scenario_blocks_are_told_of_once(tmp_path: Path) -> None:
    result = compare_with(build("7.2.0"), tmp_path, scenario="rhel-9")
    assert result.differences == []
    (note,) = result.notes
    assert note.startswith("disabled in the scenario, but not here: guest-exec, ")


@pytest.mark.slow
def test_who_blocks_guest_info_is_compared_with_the_release_that_is_named(tmp_path: Path) -> None:
    blocked = ["guest-info", "guest-file-flush"]
    with pytest.raises(ClientError, match="name one with --agent"):
        compare_with(build(block_rpcs=blocked), tmp_path)
    result = compare_with(build(block_rpcs=blocked), tmp_path, release="7.2")
    assert result.differences == []
    assert result.notes == [
        "guest-info does not list the commands: all are asked for",
        "guest-info is refused, and is not compared: Command guest-info has been disabled",
        "guest-file-flush is refused, and is not compared: Command guest-file-flush has been disabled",
    ]


# -- agents that differ ----------------------------------------------------------------------------


@pytest.mark.slow
def test_another_release_differs(tmp_path: Path) -> None:
    result = compare_with(build("7.2"), tmp_path, release="5.2")
    assert words(result)[0] == "commands that only the real agent has"
    first = result.differences[0]
    assert first.real == b'["guest-get-cpustats", "guest-get-diskstats"]'
    assert {"arguments", "wire", "commands"} <= {d.topic for d in result.differences}
    refused = [d for d in result.differences if b'"SET"' in d.request]
    assert b"Parameter 'whence' does not accept value 'SET'" in refused[0].real
    assert b"Invalid parameter 'SET'" in refused[0].simulated


FAULTS = {
    "another text": (
        {"kind": "error", "on": "guest-sync", "desc": "no"},
        {"arguments", "wire"},
        {"the answers"},
    ),
    "no JSON": (
        {"kind": "truncate", "on": "guest-get-host-name", "keep": 10},
        {"values", "arguments"},
        {"no reply with a single member, `return`", "the answers"},
    ),
    "bytes before a reply": (
        {"kind": "garbage", "on": "guest-get-host-name", "where": "before", "text": "x"},
        {"values", "arguments"},
        {"no reply with a single member, `return`", "the answers"},
    ),
    "other members": (
        {
            "kind": "edit",
            "on": "guest-get-timezone",
            "set": {"/offset": "0", "/x": 1},
            "remove": ["/zone"],
        },
        {"values"},
        {
            "x: a member that the simulated agent does not have; offset: expected an integer, found a string"
        },
    ),
    "spaces": (
        {"kind": "crlf", "on": "guest-get-host-name"},
        {"values", "arguments"},
        {"the spelling", "the answers"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "topics", "what"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_seen(
    fault: dict[str, Any], topics: set[str], what: set[str], tmp_path: Path
) -> None:
    text = json.dumps({"extends": "debian-12", "faults": [fault]})
    result = compare_with(loads(text).build(), tmp_path)
    assert {d.topic for d in result.differences} <= topics
    assert {d.what for d in result.differences} == what


@pytest.mark.slow
def test_an_unknown_release_is_compared_with_the_nearest(tmp_path: Path) -> None:
    for version, simulated in (
        ("12.1.0", "11.1.3"),
        ("2.4.0", "2.5.0"),
        ("mac 1", "2.5.0"),
        # virtio-win's own numbers.
        ("108.0.2", "8.2.0"),
        ("109.1.0", "9.1.0"),
    ):
        simulation = build("11.1")
        simulation.guest.agent_version = version
        object.__setattr__(simulation.agent, "dialect", _renamed(simulation, version))
        result = compare_with(simulation, tmp_path)
        assert result.release == simulated
        assert result.notes[0].startswith(f"release {version!r} is unknown to qgasim")


def _renamed(simulation: Simulation, version: str) -> Any:
    from msgspec import structs

    return structs.replace(simulation.agent.dialect, full_version=version)


def test_a_frozen_guest_is_refused(tmp_path: Path) -> None:
    simulation = build()
    for effect in simulation.channel.receive(b'{"execute":"guest-fsfreeze-freeze"}'):
        assert effect
    with pytest.raises(ClientError, match="thaw it first"):
        compare_with(simulation, tmp_path)


# -- what is no agent ------------------------------------------------------------------------------

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(directory: Path, serve: Serve) -> Iterator[str]:
    """Serve one client in a thread; give the socket's path."""
    path = str(directory / "fake")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def run() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                serve(client)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield path
        thread.join(PATIENCE)
        assert not thread.is_alive()


def be_silent(client: socket.socket) -> None:
    while client.recv(1 << 16):
        pass


def hang_up(client: socket.socket) -> None:
    # With something unread: that is a reset.
    client.recv(1)


def echo(client: socket.socket) -> None:
    while data := client.recv(1 << 16):
        client.sendall(data)


def babble(client: socket.socket) -> None:
    while True:
        client.sendall(b"\x00\xff{[" * 4096)


NO_AGENTS = {
    "silent": (be_silent, "no answer within 0.2 s"),
    "gone": (hang_up, "the agent hung up"),
    "echo": (echo, "no answer within 0.2 s"),
}
HINT = "; is this an agent's socket, without another client?"


@pytest.mark.parametrize(("serve", "text"), NO_AGENTS.values(), ids=NO_AGENTS)
def test_who_does_not_answer_is_given_up(
    serve: Serve, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, serve) as path:
        assert main(["compare", path, "--timeout", "0.2"]) == 2
    assert capsys.readouterr().err == f"qgasim: {path}: {text}{HINT}\n"


def test_who_says_too_much_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgasim.compare.connection.LIMIT", 1 << 20)
    with serving(tmp_path, babble) as path, pytest.raises(ClientError, match="and no end"):
        RealAgent(UnixAddress(path), PATIENCE)


class Relay:
    """Answers as an agent does, until the word *stop* comes."""

    def __init__(self, stop: bytes, then: Serve) -> None:
        self.stop = stop
        self.then = then
        self.course = Course("debian-12")

    def __call__(self, client: socket.socket) -> None:
        while data := client.recv(1 << 16):
            if self.stop in data:
                self.then(client)
                return
            client.sendall(self.course.send(data))


class Impatient(RealAgent):
    """Waits for long, but not for what is never answered."""

    def ask(self, pieces: tuple[bytes, ...]) -> bytes:
        self._timeout = 0.1 if b"guest-get-vcpus" in b"".join(pieces) else PATIENCE
        return super().ask(pieces)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "text"),
    [(be_silent, "no answer within 0.1 s"), (lambda _: None, "the agent hung up")],
    ids=["silent", "gone"],
)
def test_who_stops_answering_differs_and_is_not_asked_again(
    then: Serve, text: str, tmp_path: Path
) -> None:
    relay = Relay(b"guest-get-vcpus", then)
    with serving(tmp_path, relay) as path, Impatient(UnixAddress(path), PATIENCE) as real:
        result = compare(real)
    *_, difference = result.differences
    assert difference.what == "the real agent does not answer"
    assert difference.request == b'{"execute": "guest-get-vcpus"}'
    assert text in difference.real.decode()
    assert difference.simulated.startswith(b'{"return": [{')
    assert result.notes[-1] == f"given up: {path}: {text}; nothing more was asked"


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", RELEASES, ids=NAMES)
@pytest.mark.parametrize("make", [MessageReader, LocatingReader])
def test_nothing_is_asked_that_changes_anything(
    version: tuple[int, int], make: type[MessageReader]
) -> None:
    count = 0
    for probe in probes_of(compile_table(ALL_COMMANDS, RELEASES[version])):
        request = probe.request.replace(HANDLE, b"1000")
        assert not any(f'"{name}"'.encode() in request for name in CHANGING)
        for message in make().feed(request + b"\n"):
            if isinstance(message, dict) and message.get("execute") == "guest-file-open":
                arguments = message.get("arguments")
                assert isinstance(arguments, dict)
                assert str(arguments.get("mode", "r"))[:1] not in "wa" or not arguments.get("mode")
                count += 1
    assert count > 20


@pytest.mark.slow
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    simulation = build()
    compare_with(simulation, tmp_path)
    assert simulation.agent.state.handles == {}
    assert simulation.agent.state.executions == {}
    assert simulation.agent.next_handle == 1003


# -- forms -----------------------------------------------------------------------------------------


def test_a_form_is_judged_by_what_is_declared() -> None:
    dialect = RELEASES[7, 2]
    table = compile_table(ALL_COMMANDS, dialect)
    returns = table["guest-network-get-interfaces"].command.returns
    address = {"ip-address-type": "ipv4", "ip-address": "192.0.2.1", "prefix": 24}
    assert list(find_misfits([], returns, dialect)) == []
    assert list(find_misfits([{"name": "a"}], returns, dialect)) == []
    found = find_misfits(
        [
            {"name": "a", "ip-addresses": [dict(reversed(address.items()))]},
            {"ip-addresses": [{**address, "prefix": True, "ip-address-type": "ipx"}]},
            7,
        ],
        returns,
        dialect,
    )
    order = ", ".join(address)
    wrong = ", ".join(reversed(address))
    texts = list(found)
    assert f"[].ip-addresses[]: members in the order {wrong}, not {order}" in texts
    assert "[].ip-addresses[].prefix: expected an integer, found a boolean" in texts
    assert "[].ip-addresses[].ip-address-type: 'ipx' is none of ipv4, ipv6" in texts
    assert "[].name: a member that the simulated agent always has is absent" in texts
    assert "[]: expected an object, found an integer" in texts


def test_a_value_is_spelled_in_the_order_in_which_it_came() -> None:
    # The reply of guest-network-get-interfaces in tests/golden/7.2/net.jsonl: members that share a bucket.
    text = '{"return": {"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}}'
    assert spell(json.loads(text), RELEASES[7, 2]) == text


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ServerThread(build("7.2.22"), str(tmp_path / "s")) as server:
        assert main(["compare", server.path]) == 0
        same = capsys.readouterr().out.splitlines()
        assert main(["compare", f"unix:{server.path}", "--agent", "6.2"]) == 1
        other = capsys.readouterr().out
    assert same[:2] == [
        "real:      qemu-ga 7.2.22, Debian GNU/Linux 12 (bookworm)",
        "simulated: qemu-ga 7.2.22, scenario debian-12",
    ]
    assert same[-1].endswith(" requests: no difference")
    assert "simulated: qemu-ga 6.2.0, scenario debian-12\n" in other
    assert (
        "\n1. commands: commands that only the real agent has\n"
        '   sent      {"execute":"guest-info"}\n'
        '   real      ["guest-get-cpustats", "guest-get-diskstats"]\n'
        "   simulated []\n"
    ) in other


@pytest.mark.slow
def test_the_report_comes_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ServerThread(build("7.2.22"), str(tmp_path / "s")) as server:
        assert main(["compare", server.path, "--agent", "6.2", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["real"] == {"version": "7.2.22", "system": "Debian GNU/Linux 12 (bookworm)"}
    assert said["simulated"] == {"release": "6.2.0", "scenario": "debian-12"}
    assert said["asked"] > 500
    assert said["notes"] == []
    assert said["differences"][0]["real"] == '["guest-get-cpustats", "guest-get-diskstats"]'


REFUSED = {
    "no socket": (["{}/no"], "qgasim: {}/no: No such file or directory"),
    "no port": (
        ["tcp:x"],
        (
            "qgasim compare: argument ADDRESS: expected tcp:[HOST:]PORT, found 'tcp:x' "
            "(try qgasim compare --help)"
        ),
    ),
    "no path": (["{}/" + "x" * 120], "qgasim: {}/" + "x" * 120 + ": AF_UNIX path too long"),
    "no release": (
        ["{}/no", "--agent", "1.0"],
        "qgasim compare: --agent: no such release: '1.0' (try qgasim compare --help)",
    ),
    "no time": (
        ["{}/no", "--timeout", "0"],
        (
            "qgasim compare: argument --timeout: expected a number of seconds above 0, found '0' "
            "(try qgasim compare --help)"
        ),
    ),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status: Any
    try:
        status = main(["compare", *[a.format(tmp_path) for a in arguments]])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert capsys.readouterr().err == said.format(tmp_path) + "\n"
