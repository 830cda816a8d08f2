"""What a release of QEMU has, and does differently from others. Sources: recordings of four releases.

The wire (text, parser, arguments) is the agent's: both are built of the same code, so a release's
`Dialect` says it. What is only the monitor's stands here.
"""

import gzip
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final, Literal

from msgspec import Struct, json

from qgasim.dialect import Dialect, find_dialect
from qgasim.wire import is_array, is_object

__all__ = ["RELEASES", "Release", "find_release", "turn_round"]


class Release(Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """A release of QEMU."""

    #: The name in a scenario.
    name: str
    #: Major, minor, micro.
    version: tuple[int, int, int]
    #: What its wire is like.
    dialect: Dialect
    #: A command that changes the machine's power is answered before its event is sent.
    replies_first: bool = False
    #: query-status says ``singlestep``.
    has_singlestep: bool = False
    #: A suspended machine can be stopped.
    stops_suspended: bool = True
    #: What follows the path of a socket that QEMU listens on.
    socket_mark: str = ",server=on"
    #: A panic is reported as a pause first, whatever follows.
    tells_panic_twice: bool = False
    #: Processors are sockets of one core; later, cores of one socket.
    cpus_are_sockets: bool = False
    #: A processor says which architecture it is of.
    tells_arch: bool = False
    #: A processor says which model it is.
    tells_cpu_type: bool = False
    #: A memory backend says whether it is shared, and whether it reserves swap.
    tells_sharing: bool = True
    #: query-memdev lists in the order of the table; before, from its end.
    lists_memdevs_forwards: bool = False
    #: When ACPI tells the states of processors, too: once a guest has booted that drives them, or never.
    tells_cpu_slots: Literal["always", "booted", "never"] = "booted"
    #: The VLANs of a network device that no guest drives are listed.
    lists_all_vlans: bool = True
    #: The QOM path of the real-time clock, as RTC_CHANGE says it.
    rtc_path: str | None = None
    #: How many devices without an id come before it on that path, besides the processors.
    rtc_after: int = 2
    #: A migration's last phase has an event of its own.
    tells_device_phase: bool = True
    #: The beginning of an incoming migration is reported even to clients that did not ask for such events.
    tells_setup_always: bool = False

    #: The commands that take their arguments as they are (``'gen': false`` in qapi/*.json).
    unchecked_commands: tuple[str, ...] = ("device_add",)
    #: A migration to an address of no known kind is refused before it has begun. UNVERIFIED.
    reads_uri_first: bool = True
    #: Whether it is the release whose types of devices were recorded (data/capabilities.json.gz).
    has_recorded_types: bool = False
    #: Parameters of migration that can be set, and stay as they were. UNVERIFIED for releases other than 7.2.
    ignored_parameters: tuple[str, ...] = ()
    #: What errors call a dirty bitmap or its name (qapi/block-core.json). UNVERIFIED for 5.2.
    bitmap_alternate: str = "BlockDirtyBitmapOrStr"

    @cached_property
    def _data(self) -> dict[str, Any]:
        file = resources.files("qgasim.qmp").joinpath("data", f"{self.name}.json.gz")
        data: dict[str, Any] = json.decode(gzip.decompress(file.read_bytes()))
        return data

    @property
    def schema(self) -> str:
        """What query-qmp-schema returns, as text."""
        text: str = self._data["schema"]
        return text

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        """What query-qmp-schema returns."""
        found: list[dict[str, Any]] = json.decode(self.schema)
        return found

    @cached_property
    def types(self) -> dict[str, dict[str, Any]]:
        """What query-qmp-schema says, by name: commands, events and types."""
        return {each["name"]: each for each in self.entries}

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """The names of all commands, in the order in which query-commands lists them."""
        return tuple(each["name"] for each in self.answers["query-commands"])

    def names(self) -> list[str]:
        """Return the names of all commands and events, as scenarios write them: ``qmp:cont``."""
        kinds = ("command", "event")
        return [f"qmp:{e['name']}" for e in self.entries if e["meta-type"] in kinds]

    def arguments_of(self, command: str) -> list[str]:
        """Return the names of the arguments of a command, in the schema's order."""
        return [member["name"] for member in self.types[self.argument_type(command)]["members"]]

    def results_of(self, command: str) -> list[str]:
        """Return the names of the members of what a command returns."""
        return [member["name"] for member in self.types[self.types[command]["ret-type"]]["members"]]

    def argument_type(self, command: str) -> str:
        """Return the name of the type of a command's arguments."""
        name: str = self.types[command]["arg-type"]
        return name

    @cached_property
    def oob_commands(self) -> frozenset[str]:
        """The commands that can be executed out of band."""
        return frozenset(each["name"] for each in self.entries if each.get("allow-oob"))

    @cached_property
    def answers(self) -> dict[str, Any]:
        """What a release returns whatever its machine, by command."""
        answers: dict[str, Any] = turn_round(self._data["answers"])
        return answers


def turn_round(value: Any) -> Any:
    """Return a value with the members of objects in an order in which they can have been inserted.

    As they were recorded they are in the order of a QDict: of a bucket, the latest comes first.
    """
    if is_object(value):
        return {key: turn_round(each) for key, each in reversed(value.items())}
    if is_array(value):
        return [turn_round(each) for each in value]
    return value


def _make(version: tuple[int, int, int], **facts: Any) -> Release:
    name = "{}.{}".format(*version)
    dialect = find_dialect(name)
    assert dialect is not None
    return Release(name=name, version=version, dialect=dialect, **facts)


RELEASES: Final = (
    _make(
        (5, 2, 0),
        replies_first=True,
        has_singlestep=True,
        stops_suspended=False,
        socket_mark=",server",
        tells_panic_twice=True,
        cpus_are_sockets=True,
        tells_arch=True,
        tells_sharing=False,
        tells_cpu_slots="never",
        lists_all_vlans=False,
        tells_device_phase=False,
        reads_uri_first=False,
        ignored_parameters=("multifd-zlib-level", "multifd-zstd-level"),
        unchecked_commands=("device_add", "netdev_add", "object-add"),
        bitmap_alternate="BlockDirtyBitmapMergeSource",
    ),
    _make(
        (7, 2, 22),
        has_singlestep=True,
        stops_suspended=False,
        rtc_path="/machine/unattached/device[{}]",
        rtc_after=8,
        reads_uri_first=False,
        has_recorded_types=True,
        ignored_parameters=("multifd-zlib-level", "multifd-zstd-level"),
        tells_device_phase=False,
        tells_setup_always=True,
    ),
    _make((10, 0, 13), rtc_path="/machine/unattached/device[{}]/rtc"),
    _make(
        (11, 1, 3),
        rtc_path="/machine/unattached/device[{}]/rtc",
        tells_cpu_type=True,
        tells_cpu_slots="always",
        lists_memdevs_forwards=True,
    ),
)
"""The releases that were recorded."""


@cache
def find_release(name: str) -> Release:
    """Return a release that was recorded.

    Raises:
        LookupError: it was not.
    """
    for release in RELEASES:
        if release.name == name:
            return release
    raise LookupError(name)
