"""QEMU's command line, as libvirt and people write it: options with their values, and what they say of the machine.

`parse` reads it into a `CommandLine`, which keeps every option in order; what the simulation uses has an
attribute of its own. Syntax: system/vl.c and util/qemu-option.c; the options are those of
``qemu-system-x86_64 -help`` of 7.2.22, and the ones that 8.0 to 10.0 added.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import Struct, field

from qgasim.errors import QgaSimError

__all__ = [
    "CommandLine",
    "CommandLineError",
    "Property",
    "parse",
    "parse_properties",
    "parse_size",
    "read_number",
]

#: Options that take no value.
FLAGS: Final = frozenset(
    [
        "S",
        "async-teardown",
        "audio-help",
        "daemonize",
        "enable-kvm",
        "enable-sync-profile",
        "full-screen",
        "h",
        "help",
        "mem-prealloc",
        "no-acpi",
        "no-fd-bootchk",
        "no-hpet",
        "no-reboot",
        "no-shutdown",
        "no-user-config",
        "nodefaults",
        "nographic",
        "only-migratable",
        "portrait",
        "preconfig",
        "s",
        "singlestep",
        "snapshot",
        "usb",
        "version",
        "win2k-hack",
        "xen-attach",
        "xen-domid-restrict",
    ]
)
#: Options that take one, and the name of what may stand first without a name; empty: the value is a text.
VALUED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ["D", "L", "acpitable", "add-fd", "append", "bios", "blockdev", "boot", "cdrom", "chroot", "d", "debugcon", "dfilter", "dtb", "dump-vmstate", "echr", "fda", "fdb", "gdb", "hda", "hdb", "hdc", "hdd", "icount", "incoming", "initrd", "iscsi", "k", "kernel", "loadvm", "mem-path", "monitor", "mtdblock", "numa", "option-rom", "parallel", "pflash", "pidfile", "plugin", "qmp", "qmp-pretty", "readconfig", "rotate", "run-with", "runas", "sd", "seed", "serial", "set", "smbios", "spice", "trace", "usbdevice", "uuid", "vnc", "watchdog-action", "xen-domid"],
        "",
    ),
    "accel": "accel", "action": "", "audio": "driver", "audiodev": "driver", "chardev": "backend",
    "compat": "", "cpu": "", "device": "driver", "display": "type", "drive": "file", "fsdev": "fsdriver",
    "fw_cfg": "name", "global": "", "m": "size", "machine": "type", "mon": "chardev", "msg": "",
    "name": "guest", "net": "type", "netdev": "type", "nic": "type", "object": "qom-type",
    "overcommit": "", "rtc": "base", "sandbox": "enable", "smp": "cpus", "tpmdev": "type", "vga": "",
    "virtfs": "fsdriver",
}  # fmt: skip
#: Other spellings.
ALIASES: Final = {"M": "machine", "no-kvm": "accel", "soundhw": "audio"}
#: What a size may end with, in powers of 1024.
SUFFIXES: Final[Mapping[str, int]] = {suffix: 1024**n for n, suffix in enumerate("bkmgtpe")}

#: A value in an option: a text, or what JSON says.
Property = Any


class CommandLineError(QgaSimError):
    """The command line cannot be understood; the message says which option, as QEMU does."""


class CommandLine(Struct, kw_only=True):
    """What a command line says."""

    #: Each option with its value (None for a flag), in order.
    options: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])

    def has(self, option: str) -> bool:
        """Return whether *option* is given."""
        return any(name == option for name, _ in self.options)

    def values(self, option: str) -> list[str]:
        """Return the values of *option*, in order."""
        return [value for name, value in self.options if name == option and value is not None]

    def value(self, option: str) -> str | None:
        """Return the last value of *option*: later ones count."""
        values = self.values(option)
        return values[-1] if values else None

    def properties(self, option: str) -> list[dict[str, Property]]:
        """Return what each *option* says, by name."""
        return [parse_properties(value, VALUED[option]) for value in self.values(option)]

    def describe(self, option: str) -> list[tuple[str, dict[str, Property]]]:
        """Return each *option* as it was given, which messages begin with, and what it says."""
        return list(
            zip(
                (f"-{option} {v}" for v in self.values(option)),
                self.properties(option),
                strict=True,
            )
        )

    def merged(self, option: str) -> dict[str, Property]:
        """Return what all of *option* say together, for those that describe one thing (``-machine``)."""
        merged: dict[str, Property] = {}
        for properties in self.properties(option):
            merged |= properties
        return merged

    @property
    def name(self) -> str:
        """The guest's name; empty if it has none."""
        return str(self.merged("name").get("guest", ""))

    @property
    def vcpus(self) -> int:
        """How many processors are there at the start."""
        smp = self.merged("smp")
        if "cpus" in smp:
            return read_number(smp["cpus"], "smp.cpus")
        threads = 1
        for part in ("sockets", "dies", "clusters", "cores", "threads"):
            threads *= read_number(smp.get(part, 1), f"smp.{part}")
        return threads

    @property
    def max_vcpus(self) -> int:
        """How many processors there can be."""
        smp = self.merged("smp")
        return read_number(smp["maxcpus"], "smp.maxcpus") if "maxcpus" in smp else self.vcpus

    @property
    def memory(self) -> int:
        """Bytes of memory at the start; 128 MiB by default, as in QEMU."""
        size = self.merged("m").get("size")
        return parse_size(str(size), "M") if size is not None else 128 << 20

    @property
    def machine(self) -> str:
        """The type of machine; empty if it is not given."""
        return str(self.merged("machine").get("type", ""))

    def devices(self) -> list[tuple[str, dict[str, Property]]]:
        """Return each ``-device`` as it was given, and its properties: its driver, a text, is one.

        Raises:
            CommandLineError: it has none.
        """
        devices = self.describe("device")
        for text, device in devices:
            if not isinstance(device.get("driver"), str):
                raise CommandLineError(f"{text}: Parameter 'driver' is missing")
        return devices

    def chardevs(self) -> dict[str, dict[str, Property]]:
        """Return the character devices by their id."""
        return {str(chardev.get("id", "")): chardev for chardev in self.properties("chardev")}

    def name_chardev(self, label: str) -> str:
        """Return the option of a character device as it was given, by its id; one must be there."""
        return {str(said.get("id", "")): text for text, said in self.describe("chardev")}[label]


def parse(arguments: Sequence[str]) -> CommandLine:
    """Read the *arguments* of an emulator, without its name; CommandLineError with QEMU's words."""
    line = CommandLine()
    left = iter(arguments)
    for argument in left:
        if not argument.startswith("-"):
            # A file to be a disk's image (vl.c).
            line.options.append(("hda", argument))
            continue
        name = argument.removeprefix("-").removeprefix("-")
        name = ALIASES.get(name, name)
        if name in FLAGS:
            line.options.append((name, None))
        elif name in VALUED:
            value = next(left, None)
            if value is None:
                raise CommandLineError(f"{argument}: requires an argument")
            line.options.append((name, value))
        else:
            raise CommandLineError(f"{argument}: invalid option")
    return line


def parse_properties(text: str, first: str = "") -> dict[str, Property]:
    """Read ``name=value,...`` or a JSON object.

    *first* names what stands first without a name. A comma in a value is written twice; a name without
    a value is ``on`` (and ``noNAME`` ``off``, util/qemu-option.c).
    """
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise CommandLineError(f"{text[:200]}: {error}") from None
        return cast("dict[str, Property]", found)
    properties: dict[str, Property] = {}
    for index, part in enumerate(_split(text)):
        name, is_pair, value = part.partition("=")
        if is_pair:
            properties[name] = value
        elif index == 0 and first:
            properties[first] = part
        elif name.startswith("no") and len(name) > 2:
            properties[name[2:]] = "off"
        elif name:
            properties[name] = "on"
    return properties


def _split(text: str) -> Iterator[str]:
    for part in text.replace(",,", "\0").split(","):
        yield part.replace("\0", ",")


def parse_size(text: str, unit: str) -> int:
    """Return the bytes that *text* means, as in ``512`` (of *unit*), ``2G`` or ``1048576k``."""
    found = re.fullmatch(r"(\d{1,19})([bkmgtpe]?)", text, re.IGNORECASE)
    if not found:
        raise CommandLineError(
            f"Parameter 'size' expects a non-negative number below 2^64: {text[:80]}"
        )
    factor: int = SUFFIXES[(found[2] or unit).lower()]
    return int(found[1]) * factor


def read_number(value: Property, name: str) -> int:
    """Return the number that *value* says; CommandLineError as QEMU has it for integers of ``-smp``."""
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise CommandLineError(f"Parameter '{name}' expects integer")
    return int(text)
