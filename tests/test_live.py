"""A served guest as a test takes hold of it: events, faults, stubs, time, from whatever thread."""

import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import structs

from qgasim import ClientError, SyncClient
from qgasim.errors import ScenarioError, ServerError
from qgasim.faults import AnyFault, FaultKind
from qgasim.faults.timing import Delay
from qgasim.guest.system.clock import SteeredClock
from qgasim.matching import Match
from qgasim.scenario import Blueprint, loads
from qgasim.scenario.schema import describe
from qgasim.serving.server import Server
from qgasim.serving.threads import ServerThreadPool
from qgasim.simulation.timeline import AnyEvent, Event
from qgasim.testing.events import Events
from qgasim.testing.live import LiveGuest
from tests.serving import SECOND

EVENTS = {str(cls.__struct_config__.tag): cls for cls in get_args(AnyEvent)}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveGuest]:
    blueprint = Blueprint(loads("extends: debian-12"))
    with ServerThreadPool() as pool:
        servers: list[Server] = []

        def serve(channel: Any) -> str:
            servers.append(pool.serve(channel, str(tmp_path / "s")))
            return str(tmp_path / "s")

        yield LiveGuest(
            blueprint,
            SteeredClock,
            lambda function, patience: pool.call(servers[0], function, patience),
            serve,
        )


# -- events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_a_method_with_the_same_settings_and_words(name: str) -> None:
    method = getattr(Events, name)
    when = {field.name for field in structs.fields(Event)}
    settings = [field for field in structs.fields(EVENTS[name]) if field.name not in when]
    parameters = list(inspect.signature(method).parameters.values())[1:]
    assert [p.name for p in parameters] == [field.name for field in settings]
    assert [p.default is p.empty for p in parameters] == [field.required for field in settings]
    words = (method.__doc__ or "").partition(".")[0].partition(":")[0]
    assert describe(EVENTS[name]).startswith(words)


def test_there_is_no_method_that_is_no_event() -> None:
    methods = {name for name in vars(Events) if not name.startswith("_")}
    assert methods == set(EVENTS)


def state_of(live: LiveGuest) -> str:
    return live.state


def test_every_event_can_happen(live: LiveGuest) -> None:
    uptime = live.clock.uptime
    live.addresses("enp1s0", add=["192.0.2.99/24"])
    assert "192.0.2.99/24" in live.guest.nics["enp1s0"].addresses
    live.addresses("enp1s0", remove=["192.0.2.99/24"])
    assert "192.0.2.99/24" not in live.guest.nics["enp1s0"].addresses
    live.nic_appears({"name": "eth9"})
    live.nic_disappears("eth9")
    assert [nic.name for nic in live.guest.nics] == ["lo", "enp1s0"]
    live.disk_appears({"name": "vdz", "size": "1GiB"})
    assert live.guest.disks[-1].size == 1 << 30
    live.disk_fills("/", "1GiB")
    assert live.guest.files.mounts[0].volume.used == 1 << 30
    live.file_changes("/tmp/x", "text")
    assert live.guest.files.read("/tmp/x") == b"text"
    live.file_changes("/tmp/x", None)
    assert not live.guest.files.exists("/tmp/x")
    live.logs_on("ann", line="pts/7")
    assert live.guest.logins[-1].user == "ann"
    live.logs_off("ann")
    assert all(login.user != "ann" for login in live.guest.logins)
    before = live.clock.now
    live.step_clock(forward=timedelta(hours=1))
    assert live.clock.now - before >= 3600 * SECOND
    live.step_clock(back="2h")
    assert live.clock.now < before
    live.snapshot("first")
    live.agent_crashes(respawn=3600)
    assert state_of(live) == "booting"
    live.agent_starts()
    assert state_of(live) == "up"
    live.agent_stops()
    assert state_of(live) == "booting"
    live.revert("first")
    assert state_of(live) == "up"
    live.agent_upgrades("11.1")
    assert live.agent.dialect.full_version == "11.1.3"
    live.pause()
    assert state_of(live) == "paused"
    live.resume()
    live.migrate(blackout="1h")
    assert state_of(live) == "paused"
    live.clock.advance("1h")
    live.suspend()
    assert state_of(live) == "suspended"
    live.wake()
    live.reboot()
    assert state_of(live) == "rebooting"
    live.clock.advance("1m")
    assert state_of(live) == "up"
    live.panic()
    assert state_of(live) == "crashed"
    live.power_off()
    live.power_on()
    with pytest.raises(LookupError, match="there is no process 'nginx'"):
        live.process_ends("nginx")
    live.clock_drifts(1000)
    assert live.clock.uptime != uptime


def test_faults_are_switched_by_name(live: LiveGuest) -> None:
    live.inject(kind="error", on="guest-ping", desc="no", name="refusal")
    with SyncClient(live.socket_path) as client:
        live.fault_off("refusal")
        assert client.call("guest-ping") == {}
        live.fault_on("refusal")
        with pytest.raises(ClientError, match="no"):
            client.call("guest-ping")
    with pytest.raises(LookupError, match="refusl"):
        live.fault_off("refusl")


def test_what_an_event_cannot_be_is_told(live: LiveGuest) -> None:
    with pytest.raises(ScenarioError, match="pause: lasts: "):
        live.pause(lasts="1 parsec")
    # Checks of a scenario that need no scenario hold here, too.
    with pytest.raises(ScenarioError, match=r"addresses: add\[0\]: not an address: 'x'"):
        live.addresses("enp1s0", add=["x"])
    with pytest.raises(ScenarioError, match="file_changes: path: expected an absolute path"):
        live.file_changes("motd", "hello")


def test_what_is_not_there_is_told_with_what_there_is(live: LiveGuest) -> None:
    live.inject(kind="error", on="guest-ping", desc="no", name="no-ping")
    live.snapshot("first")
    told: dict[str, Callable[[], None]] = {
        "there is no fault 'no-pong' (did you mean 'no-ping'?) (there are: no-ping)": (
            lambda: live.fault_off("no-pong")
        ),
        "there is no fault 'x' (there are: no-ping)": lambda: live.fault_on("x"),
        "there is no snapshot 'frist' (did you mean 'first'?) (there are: first)": (
            lambda: live.revert("frist")
        ),
        "there is no interface 'eth7' (there are: enp1s0, lo)": (
            lambda: live.nic_disappears("eth7")
        ),
        "there is no mount point '/nope' (there are: /, /boot/efi, /proc, /run, /sys)": (
            lambda: live.disk_fills("/nope", 5)
        ),
        "there is no login of the user 'root' (there is none at all)": (
            lambda: live.logs_off("root")
        ),
    }
    live.guest.logins.clear()
    for text, function in told.items():
        with pytest.raises(LookupError) as caught:
            function()
        assert str(caught.value) == text
    with pytest.raises(LookupError, match="there is no address of enp1s0 "):
        live.addresses("enp1s0", remove=["192.0.2.99/24"])
    with pytest.raises(FileExistsError, match="File exists: 'enp1s0'"):
        live.nic_appears({"name": "enp1s0"})
    with pytest.raises(FileExistsError, match="File exists: 'vda'"):
        live.disk_appears({"name": "vda"})


@pytest.mark.parametrize("duration", ["-1h", -1, "soon", None, float("nan"), [1]])
def test_what_is_no_duration_is_told(live: LiveGuest, duration: Any) -> None:
    with pytest.raises(ValueError, match="expected a duration, as in 250ms or 1h, found "):
        live.clock.advance(duration)


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "fast", None])
def test_what_is_no_rate_is_told_and_time_goes_on(live: LiveGuest, rate: Any) -> None:
    with pytest.raises(ValueError, match=f"expected a rate from 0 to 1e\\+06, found {rate!r}"):
        live.clock.run(rate)
    assert live.clock.uptime > 0


# -- what is done to the guest ---------------------------------------------------------------------


def test_an_attribute_is_set_only_if_there_is_one_and_to_what_it_can_be(live: LiveGuest) -> None:
    nic = live.guest.nics["enp1s0"]
    nic.mac = "52:54:00:00:00:01"
    live.guest.hostname = "db1"
    wrong: list[tuple[Any, str, Any, type[Exception], str]] = [
        (
            live.guest,
            "hostnme",
            "x",
            AttributeError,
            "a Guest has no 'hostnme' (did you mean 'hostname'?)",
        ),
        (live.guest, "hostname", 5, TypeError, "Guest.hostname: expected str, found int: 5"),
        (nic, "upp", False, AttributeError, "a Nic has no 'upp' (did you mean 'up'?)"),
        (nic, "up", "no", TypeError, "Nic.up: expected bool, got str: 'no'"),
        (
            nic,
            "addresses",
            "192.0.2.1/24",
            TypeError,
            "Nic.addresses: expected list, got str: '192.0.2.1/24'",
        ),
        (
            nic,
            "mac",
            "52:54",
            ValueError,
            "Nic.mac: not a MAC address: '52:54' (expected six hex pairs)",
        ),
    ]
    for target, name, value, kind, text in wrong:
        with pytest.raises(kind) as caught:
            setattr(target, name, value)
        assert str(caught.value) == text
    assert (nic.mac, nic.up, live.guest.hostname) == ("52:54:00:00:00:01", True, "db1")
    with pytest.raises(AttributeError, match=r"no attribute 'fils' \(did you mean 'files'\?\)"):
        _ = live.guest.fils  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    things: Any = live.guest.nics
    with pytest.raises(TypeError, match="expected a Nic, found "):
        things.append({"name": "eth1"})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("/etc/motd", "text"), "expected bytes, as in b'hello' or text.encode(), found 'text'"),
        (("/etc/motd", None), "expected bytes, as in b'hello' or text.encode(), found None"),
        ((Path("/etc/motd"), b""), "expected the path of a file of the guest as a str, found "),
        (
            (b"/etc/motd", b""),
            "expected the path of a file of the guest as a str, found b'/etc/motd'",
        ),
        (("/etc/new", b"", "0644"), "expected a mode as a number, as in 0o644, found '0644'"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_as_it_was(
    live: LiveGuest, arguments: Any, text: str
) -> None:
    live.guest.files.write("/etc/motd", b"hello")
    with pytest.raises(TypeError) as caught:
        live.guest.files.write(*arguments)
    assert str(caught.value).startswith(text)
    assert live.guest.files.read("/etc/motd") == b"hello"
    assert not live.guest.files.exists("/etc/new")


def test_what_no_scenario_can_say_is_told(live: LiveGuest) -> None:
    hint = "bytes: give a text, or base64 of a file"
    wrong: dict[str, Callable[[], Any]] = {
        f"file_changes: cannot be written in a scenario ({hint})": (
            lambda: live.file_changes("/etc/motd", b"hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ),
        f"stub: cannot be written in a scenario ({hint})": (
            lambda: live.stub("guest-ping", reply=b"x")
        ),
        "stub: cannot be written in a scenario (object is nothing that it has)": (
            lambda: live.stub("guest-ping", reply=object())
        ),
        "inject: expected a fault (Delay(...)) or settings (kind=..., on=...), found 'error'": (
            lambda: live.inject("error")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ),
        (
            "inject: expected a fault (Delay(...)) or settings (kind=..., on=...), "
            f"found {Delay(by=1)!r}, on='guest-ping'"
        ): lambda: live.inject(Delay(by=1), on="guest-ping"),
    }
    for text, function in wrong.items():
        with pytest.raises(ScenarioError) as caught:
            function()
        assert str(caught.value) == text
    # What Python has for what a scenario can say is taken.
    live.addresses("enp1s0", add=[ip_interface("192.0.2.98/24")])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert "192.0.2.98/24" in live.guest.nics["enp1s0"].addresses


def test_a_kind_of_fault_that_there_is_not_is_told_and_an_error_to_type_checkers(
    live: LiveGuest,
) -> None:
    # `make check` refuses an `ignore` that nothing needs.
    with pytest.raises(ScenarioError, match=r"did you mean 'delay'\?"):
        live.inject(kind="dealy", on="guest-ping", by="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert set(get_args(FaultKind)) == {cls.__struct_config__.tag for cls in get_args(AnyFault)}


# -- what goes wrong, what is answered -------------------------------------------------------------


def test_a_fault_is_injected_as_settings_or_as_an_object(live: LiveGuest) -> None:
    live.clock.stop()
    ends = [
        live.inject(kind="delay", on="guest-ping", by=timedelta(seconds=30)),
        live.inject(Delay(on="guest-ping", by=30 * SECOND)),
    ]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(live.socket_path)
        sock.sendall(b'{"execute": "guest-ping"}')
        sock.settimeout(0.05)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                sock.recv(100)
            live.clock.advance(timedelta(seconds=30))
        sock.settimeout(20)
        assert sock.recv(100) == b'{"return": {}}\n'
        for end in ends:
            end()
        sock.sendall(b'{"execute": "guest-ping"}')
        assert sock.recv(100) == b'{"return": {}}\n'
    notes = [str(entry).split("-- ")[1] for entry in live.journal.entries if "-- " in str(entry)]
    assert notes == ["fault: delay on='guest-ping' by=30s"] * 2 + ["no fault any more: delay"] * 2


@pytest.mark.parametrize("on", ["guest-pin", Match(command="guest-pin"), "ping"])
def test_what_no_request_can_match_is_refused(live: LiveGuest, on: str | Match) -> None:
    with pytest.raises(ScenarioError, match=r"inject: on: qemu-ga 7\.2\.22 has no command"):
        live.inject(Delay(on=on, by=1))
    with pytest.raises(ScenarioError, match=r"stub: on: qemu-ga 7\.2\.22 has no command"):
        live.stub(on, reply={})


def test_a_stub_may_have_patterns(live: LiveGuest) -> None:
    live.stub({"command": "guest-exec-status", "arguments": {"pid": 7}}, reply={"exited": True})
    live.stub(Match(command="guest-get-*"), reply="all the same")
    with SyncClient(live.socket_path) as client:
        assert client.call("guest-exec-status", pid=7) == {"exited": True}
        assert client.call("guest-get-users") == "all the same"
        with pytest.raises(ClientError):
            client.call("guest-exec-status", pid=8)


# -- from whatever thread --------------------------------------------------------------------------


def test_all_threads_may_steer_while_a_client_is_served(live: LiveGuest) -> None:
    errors: list[BaseException] = []

    def steer(number: int) -> None:
        try:
            for count in range(30):
                live.guest.files.write(f"/tmp/{number}", str(count).encode())
                live.clock.advance("1s")
                live.inject(kind="duplicate", on="guest-get-users")()
                assert live.guest.files.read(f"/tmp/{number}") == str(count).encode()
                live.journal.commands()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=steer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    with SyncClient(live.socket_path) as client:
        for number in range(200):
            assert client.call("guest-sync", id=number) == number
    for thread in threads:
        thread.join()
    assert errors == []
    assert live.clock.uptime >= 120


def test_a_call_may_call_again(live: LiveGuest) -> None:
    assert live.call(lambda: live.call(lambda: live.state)) == "up"


def test_what_a_call_raises_is_raised_where_it_is_called(live: LiveGuest) -> None:
    for error in (TimeoutError("mine"), SystemExit(3), KeyError("x")):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            live.call(fail)
        assert caught.value is error


def test_a_guest_that_is_served_no_more_says_so(tmp_path: Path) -> None:
    blueprint = Blueprint(loads("extends: debian-12"))
    with ServerThreadPool() as pool:
        server = pool.serve(blueprint.build(), str(tmp_path / "s"))
    with pytest.raises(ServerError, match="has ended"):
        pool.call(server, lambda: None)


# -- what it looks like ----------------------------------------------------------------------------


def test_names_can_be_completed(live: LiveGuest) -> None:
    assert {"reboot", "inject", "journal", "socket_path"} <= set(dir(live))
    assert {"files", "nics", "hostname"} <= set(dir(live.guest))


def test_a_name_that_is_not_there_is_told_with_what_was_meant(live: LiveGuest) -> None:
    with pytest.raises(AttributeError, match="a guest has no 'rebot' \\(did you mean 'reboot'"):
        live.rebot()  # type: ignore[attr-defined]


def test_a_description_says_what_the_guest_is_and_that_nothing_was_asked(live: LiveGuest) -> None:
    assert live.describe().startswith("qemu-ga 7.2.22 in guest 'debian', state up, seed 0\n")
    assert "(nothing was asked)" in live.describe()
