"""What a guest cannot have does not get into it, whichever way it comes; and its agent lives on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qgasim import SyncClient
from qgasim.guest.hardware.devices import Disk, Partition, Vcpu
from qgasim.guest.hardware.network import Counters, Nic
from qgasim.guest.records import Kept
from qgasim.guest.system.accounts import Login
from qgasim.scenario import library, load
from qgasim.scenario.records import check_records
from qgasim.serving.threads import ServerThread
from qgasim.testing.attribute_paths import assign
from qgasim.testing.live import LiveGuest
from qgasim.testing.proxy import proxy
from tests.serving import Course
from tests.test_live import live

__all__ = ["live"]

ADDRESS = "not an address: 'nonsense' (expected one as in 192.0.2.7/24 or fe80::1/64)"

GATEWAY = "not an address: 'nonsense' (expected one as in 192.0.2.1 or fe80::1)"
DEVICE = "(expected one as in vda or vda1)"


def put(target: Any, key: Any, value: Any) -> None:
    target[key] = value


def add(target: Any, name: str, value: Any) -> None:
    """Do what ``target.name += value`` does."""
    setattr(target, name, getattr(target, name).__iadd__(value))


#: Each way in: what is done to a guest, the kind of the error, and its text.
WAYS: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "append an address": (
        lambda g: g.nics[1].addresses.append("nonsense"),
        ValueError,
        f"guest.nics[1].addresses[3]: {ADDRESS}",
    ),
    "append a number": (
        lambda g: g.nics[1].addresses.append(5),
        TypeError,
        "guest.nics[1].addresses[3]: expected a text, found 5",
    ),
    "extend addresses": (
        lambda g: g.nics[1].addresses.extend(["192.0.2.9/24", "nonsense"]),
        ValueError,
        f"guest.nics[1].addresses[4]: {ADDRESS}",
    ),
    "insert an address": (
        lambda g: g.nics[1].addresses.insert(0, "nonsense"),
        ValueError,
        f"guest.nics[1].addresses[0]: {ADDRESS}",
    ),
    "add addresses": (
        lambda g: add(g.nics[1], "addresses", ["nonsense"]),
        ValueError,
        f"guest.nics[1].addresses[3]: {ADDRESS}",
    ),
    "put an address": (
        lambda g: put(g.nics[1].addresses, 0, "nonsense"),
        ValueError,
        f"guest.nics[1].addresses[0]: {ADDRESS}",
    ),
    "put a slice of addresses": (
        lambda g: put(g.nics[1].addresses, slice(0, 0), ["nonsense"]),
        ValueError,
        f"guest.nics[1].addresses[0]: {ADDRESS}",
    ),
    "append what is made up in scenarios": (
        lambda g: g.nics[1].addresses.append("auto"),
        ValueError,
        "guest.nics[1].addresses[3]: expected an address in a guest that runs, found 'auto'",
    ),
    "append a gateway": (
        lambda g: g.nics[1].gateways.append("nonsense"),
        ValueError,
        f"guest.nics[1].gateways[0]: {GATEWAY}",
    ),
    "append an interface": (
        lambda g: g.nics.append(Nic(name="eth9", addresses=["nonsense"])),
        ValueError,
        f"guest.nics[2].addresses[0]: {ADDRESS}",
    ),
    "append an interface of another type": (
        lambda g: g.nics.append({"name": "eth9"}),
        TypeError,
        "expected a Nic, found {'name': 'eth9'}",
    ),
    "extend interfaces": (
        lambda g: g.nics.extend([{"name": "eth9"}]),
        TypeError,
        "guest.nics[2]: expected a Nic, found {'name': 'eth9'}",
    ),
    "add interfaces": (
        lambda g: add(g, "nics", [Nic(name="eth9", mac="52:54")]),
        ValueError,
        "guest.nics[2].mac: not a MAC address: '52:54' (expected six hex pairs)",
    ),
    "append several interfaces": (
        lambda g: g.nics.append(Nic(name="eth{i}", count=3)),
        ValueError,
        "guest.nics[2].count: expected 1 in a guest that runs, found 3",
    ),
    "append an interface whose address is made up in scenarios": (
        lambda g: g.nics.append(Nic(name="eth9", mac="auto")),
        ValueError,
        "guest.nics[2].mac: expected an address in a guest that runs, found 'auto'",
    ),
    "put an interface": (
        lambda g: put(g.nics, 1, Nic(name="a\nb")),
        ValueError,
        "guest.nics[1].name: not a name: 'a\nb'",
    ),
    "counters of an interface": (
        lambda g: setattr(g.nics[1], "counters", Counters(rx_bytes=-1)),
        ValueError,
        "guest.nics[1].counters.rx_bytes: expected from 0 to 18446744073709551615, found -1",
    ),
    "append a disk": (
        lambda g: g.disks.append(Disk(name="vd z")),
        ValueError,
        "guest.disks[1].name: not the name of a device: 'vd z' (expected one as in vda or vda1)",
    ),
    "a disk of a wrong type": (
        lambda g: g.disks.append(Disk(name="vdz", size="1GiB")),  # type: ignore[arg-type]
        TypeError,
        "guest.disks[1].size: expected bytes (an integer), found '1GiB'",
    ),
    "append a partition": (
        lambda g: g.disks[0].partitions.append(Partition(name="")),
        ValueError,
        f"guest.disks[0].partitions[3].name: not the name of a device: '' {DEVICE}",
    ),
    "append a device below": (
        lambda g: g.disks[0].depends.append(5),
        TypeError,
        "guest.disks[0].depends[0]: expected a text, found 5",
    ),
    "append a processor": (
        lambda g: g.vcpus.append(Vcpu(id=-1)),
        ValueError,
        "guest.vcpus[2].id: expected from 0 to 8191, found -1",
    ),
    "append a number of processors": (
        lambda g: g.vcpus.append(3),
        TypeError,
        "guest.vcpus[2]: expected a Vcpu, found 3",
    ),
    "append a memory block": (
        lambda g: g.memory.blocks.append(None),
        TypeError,
        "guest.memory.blocks[16]: expected a MemoryBlock, found None",
    ),
    "append a login": (
        lambda g: g.logins.append("root"),
        TypeError,
        "guest.logins[1]: expected a Login, found 'root'",
    ),
    "append a login with a wrong time": (
        lambda g: g.logins.append(Login(user="root", time="now")),  # type: ignore[arg-type]
        TypeError,
        "guest.logins[1].time: expected ns since 1970 (an integer), found 'now'",
    ),
    "put a password": (
        lambda g: put(g.passwords, "alice", 5),
        TypeError,
        "guest.passwords.alice: expected a text, found 5",
    ),
    "update passwords": (
        lambda g: g.passwords.update({"bob": "x", 5: "y"}),
        TypeError,
        "guest.passwords: expected keys that are texts, found 5",
    ),
    "merge passwords": (
        lambda g: setattr(g, "passwords", g.passwords.__ior__({"alice": None})),
        TypeError,
        "guest.passwords.alice: expected a text, found None",
    ),
}
#: What only a call can do: assignment to what a test holds is checked before, and says so itself.
PLAIN: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "an attribute of a record": (
        lambda g: setattr(g.nics[1], "up", "no"),
        TypeError,
        "guest.nics[1].up: expected true or false, found 'no'",
    ),
    "another list": (
        lambda g: setattr(g, "vcpus", 5),
        TypeError,
        "guest.vcpus: expected a list, found 5",
    ),
    "the host name": (
        lambda g: setattr(g, "hostname", 5),
        TypeError,
        "guest.hostname: expected a text, found 5",
    ),
}
#: All that reads what was changed.
COMMANDS = (
    "guest-network-get-interfaces", "guest-network-get-route", "guest-get-disks",
    "guest-get-fsinfo", "guest-get-vcpus", "guest-get-memory-blocks", "guest-get-users",
    "guest-get-diskstats", "guest-get-cpustats", "guest-get-host-name",
)  # fmt: skip


class Served:
    """A guest that is served by a thread."""

    def __init__(self, course: Course, thread: ServerThread) -> None:
        self.course = course
        self.call = thread.call
        self.path = thread.path

    def replies(self) -> list[Any]:
        return self.call(lambda: [self.course.say(command) for command in COMMANDS])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    course = Course("debian-12", release="11.0")
    course.advance(1)
    with ServerThread(course.simulation, str(tmp_path_factory.mktemp("guest") / "s")) as thread:
        yield Served(course, thread)
        with SyncClient(thread.path) as client:
            assert client.call("guest-ping") == {}


def is_refused(served: Served, do: Callable[[], object], kind: type[Exception], text: str) -> None:
    before = served.replies()
    with pytest.raises(kind) as caught:
        do()
    assert str(caught.value) == text
    assert served.replies() == before


@pytest.mark.parametrize("way", WAYS | PLAIN)
def test_a_call_leaves_nothing_in_a_guest_that_cannot_be(served: Served, way: str) -> None:
    do, kind, text = (WAYS | PLAIN)[way]
    is_refused(served, lambda: served.call(lambda: do(served.course.guest)), kind, text)


@pytest.mark.parametrize("way", WAYS)
def test_a_stand_in_leaves_nothing_in_a_guest_that_cannot_be(served: Served, way: str) -> None:
    do, kind, text = WAYS[way]
    guest = proxy(served.course.guest, served.call, assign)
    is_refused(served, lambda: do(guest), kind, text)


def test_what_can_be_is_taken_whichever_way_it_comes(live: LiveGuest) -> None:
    guest, nic = live.guest, live.guest.nics["enp1s0"]
    nic.addresses += ["192.0.2.1/24"]
    nic.addresses.insert(0, "192.0.2.2/24")
    nic.addresses.extend(["192.0.2.3/24"])
    assert [nic.addresses[0], *nic.addresses[-2:]] == [f"192.0.2.{n}/24" for n in (2, 1, 3)]
    guest.nics += [Nic(name="eth8"), Nic(name="eth9")]
    assert guest.nics["eth9"].mtu == 1500
    # What stands for an object of the guest is that object, in a list of the test as well.
    rest: Any = [guest.nics["eth9"], *guest.nics[:3]]
    guest.nics = rest
    assert [each.name for each in guest.nics] == ["eth9", "lo", "enp1s0", "eth8"]
    assert guest.nics["eth9"] is not None
    with pytest.raises(
        ValueError, match=r"^guest\.nics\[0\]\.addresses\[0\]: not an address: 'x' "
    ):
        live.call(lambda: live.guest.nics[0].addresses.append("x"))
    guest.nics["eth9"].counters.rx_bytes += 5
    assert guest.nics[0].counters.rx_bytes == 5


def test_what_fails_halfway_leaves_nothing_that_cannot_be(served: Served) -> None:
    def fail() -> None:
        served.course.guest.nics[1].addresses.append("nonsense")
        raise LookupError("halfway")

    is_refused(served, lambda: served.call(fail), LookupError, "halfway")


def test_the_files_of_sysfs_know_what_was_put_back(served: Served) -> None:
    guest = served.course.guest
    guest.passwords["root"] = "secret"
    path = f"/sys/class/net/{guest.nics[1].name}/mtu"

    def change() -> None:
        nic = guest.nics[1]
        nic.mtu = -1
        guest.passwords.clear()
        guest.nics[:] = [nic]

    is_refused(
        served,
        lambda: served.call(change),
        ValueError,
        "guest.nics[0].mtu: expected from 0 to 2147483647, found -1",
    )
    assert guest.passwords == {"root": "secret"}
    guest.nics[1].mtu = 1400
    assert served.call(lambda: guest.files.read(path)) == b"1400\n"


def test_an_equal_value_of_another_type_is_a_change() -> None:
    guest = Course("debian-12").guest
    kept = Kept(guest, guest.RECORDS)
    assert not kept.is_changed()
    guest.nics[0].mtu = float(guest.nics[0].mtu)  # type: ignore[assignment]
    assert kept.is_changed()
    kept.put_back()
    assert type(guest.nics[0].mtu) is int
    assert not kept.is_changed()


def test_every_command_answers_when_all_records_are_gone(served: Served) -> None:
    guest = served.course.guest

    def clear() -> list[Any]:
        kept = Kept(guest, guest.RECORDS)
        for records in (guest.vcpus, guest.memory.blocks, guest.disks, guest.nics, guest.logins):
            records.clear()
        replies = [served.course.say(command) for command in COMMANDS]
        kept.put_back()
        return replies

    assert all(reply for reply in served.call(clear))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(library()))
def test_the_records_of_every_scenario_are_such_as_can_be(name: str) -> None:
    scenario = load(name)
    for each in (scenario.fleet or {"": scenario}).values():
        check_records(each.build(lambda: 0).guest)


def test_what_stands_for_objects_is_unwrapped_in_a_dict_of_the_test(live: LiveGuest) -> None:
    class Bag:
        def __init__(self) -> None:
            self.items: dict[str, Any] = {}

    guest, bag = live.guest, Bag()
    proxy(bag, live.call).items.update({"first": guest.nics[0], "size": 1})
    proxy(bag, live.call).items.update({"size": 2})
    assert bag.items == {"first": live.simulation.guest.nics[0], "size": 2}
    assert type(bag.items["first"]) is Nic
