"""Requests for the fuzzer of the monitor: valid ones, changed ones, and damaged text.

All that is made is harmless: what the real QEMU would open, run or write on its host is never asked.
Only queries are damaged; commands that are not simulated are sent with wrong arguments only.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qgasim.qmp.registry import is_simulated, table_of
from qgasim.qmp.release import find_release
from tests.mutation import Generator, words

RELEASE: Final = find_release("7.2")
TABLE: Final = table_of(RELEASE)
SIMULATED: Final = [name for name, entry in TABLE.items() if is_simulated(entry)]
OTHERS: Final = [name for name, entry in TABLE.items() if not is_simulated(entry)]
#: What they answer depends on the host, or on which parts of QEMU were needed until then.
UNSTABLE: Final = ("query-command-line-options", "query-cpu-definitions", "qom-list-types")
QUERIES: Final = [
    name for name in SIMULATED if name.startswith(("query-", "qom-list")) and name not in UNSTABLE
]
#: Those that change something, and are asked more often.
CHANGES: Final = words(
    "stop cont system_reset system_powerdown system_wakeup set-action watchdog-set-action set_link "
    "device_add device_del object-add object-del netdev_add netdev_del chardev-add chardev-remove "
    "blockdev-add blockdev-del block_resize qom-set qom-get qom-list inject-nmi balloon query-rx-filter "
    "human-monitor-command rtc-reset-reinjection migrate-set-capabilities migrate-set-parameters "
    "query-migrate-parameters query-memory-devices query-hotpluggable-cpus query-cpus-fast query-chardev "
    "query-memdev query-iothreads query-yank query-status query-named-block-nodes send-key closefd "
    "migrate_cancel migrate-incoming query-migrate query-migrate-capabilities query-acpi-ospm-status"
)
IDS: Final = (
    *words(
        "net0 dimm0 channel0 virtio-disk0 virtio-serial0 memdimm0 hostnet0 charchannel0 compat_monitor0"
    ),
    *words("serial0 d0 new0 new1 new2 mem1 node0 nope"),
    *("", "0a", "a b", "é"),
)
VALUES: Final[dict[str, Sequence[Any]]] = {
    "id": IDS,
    "name": ("net0", "hostnet0", "new0", "nope"),
    "device": ("d0", "virtio-disk0", "nope"),
    "node-name": ("node0", "new0", "nope", "#block100"),
    "fdname": ("a", "fd", ""),
    "typename": ("virtio-net-pci", "nope", "pc-dimm", "device", "container"),
    "option": ("name", "nope"),
    "implements": ("nope", "memory-backend", "machine"),
    "path": (
        *(
            "/machine",
            "/machine/peripheral",
            "/machine/peripheral/net0",
            "/machine/peripheral/channel0",
        ),
        *(
            "/machine/peripheral/dimm0",
            "/machine/peripheral/virtio-disk0",
            "/machine/peripheral/nope",
        ),
        *(
            "/objects",
            "/objects/memdimm0",
            "/",
            "",
            "nope",
            "/machine/peripheral/",
            "/machine/unattached",
        ),
        *("/machine/unattached/device[0]", "/chardevs", "net0", "dimm0", "peripheral"),
    ),
    "property": words(
        "type hotplugged hotpluggable realized mac netdev nope size memdev slot addr node nr name drive "
        "guest-stats guest-stats-polling-interval rtc-time"
    ),
    "command-line": (
        *(
            "info status",
            "info name",
            "info uuid",
            "info version",
            "info chardev",
            "info nope",
            "info",
            "",
        ),
        *(
            "nosuch",
            "stop",
            "cont",
            "c",
            "s",
            "system_powerdown",
            "info  status",
            " info name",
            "help nope",
        ),
        *(
            "stop now",
            "info name x",
            "infos",
            "info status -x",
            "nosuch x",
            "i",
            "system_wakeup",
            "system_reset",
        ),
        *(
            "info  ",
            "info version ",
            "cont\n",
            "\tstop",
            "print 1",
            "p 1",
            "nmi",
            "info kvm",
            "info uuid\n",
        ),
    ),
    "cpu-index": (0, 1, 2, -1),
    "driver": words(
        "virtio-net-pci pc-dimm virtio-blk-pci virtserialport qemu64-x86_64-cpu nope e1000 virtio-rng-pci "
        "virtio-balloon-pci container device isa-serial virtio-serial-pci"
    ),
    "qom-type": words("memory-backend-ram iothread nope memory-backend-file container rng-builtin"),
    "uri": ("tcp:127.0.0.1:1", "nope:", ""),
    "size": (1 << 20, 16 << 20, 0, -1, 1, 128 << 20, "1M"),
    "up": (True, False),
    "backend": (
        {"type": "null", "data": {}},
        {"type": "ringbuf", "data": {"size": 1024}},
        {"type": "ringbuf", "data": {}},
        {"type": "ringbuf", "data": {"size": 1000}},
        {"type": "null"},
        {"type": "nope", "data": {}},
        {"data": {}},
    ),
    "value": (1 << 20, 64 << 20, 0, -1, "on", True, 5, None),
    "keys": (
        [{"type": "qcode", "data": "a"}],
        [],
        [{"type": "number", "data": 1}],
        [{"type": "qcode", "data": "no"}],
    ),
    "capabilities": (
        [{"capability": "events", "state": True}],
        [{"capability": "xbzrle", "state": True}],
        [{"capability": "events", "state": False}, {"capability": "nope", "state": True}],
        [{"capability": "events"}],
        [],
    ),
    "type": words("hubport user nope tap static full"),
    "model": (
        {"name": "qemu64"},
        {"name": "max"},
        {"name": "nope"},
        {},
        {"name": "base", "props": {}},
    ),
    "action": words("pause reset none nope poweroff shutdown debug inject-nmi"),
    # Not "shutdown": the firmware resets the machine when it likes.
    "reboot": words("reset nope"),
    "shutdown": words("poweroff pause nope"),
    "panic": words("pause shutdown exit-failure none nope"),
    "watchdog": words("pause reset none nope"),
    "enable": ([], ["oob"], ["nope"], ["oob", "oob"], "oob"),
}
#: Whole arguments, for commands whose members belong together.
WHOLE: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "device_add": (
        {"driver": "virtio-net-pci", "netdev": "hostnet0", "id": "new0"},
        {"driver": "virtio-net-pci", "netdev": "new0", "id": "new1"},
        {"driver": "virtio-net-pci", "netdev": "nope", "id": "new1"},
        {"driver": "virtio-net-pci", "id": "new1", "mac": "52:54:00:00:00:01"},
        {"driver": "virtio-net-pci", "id": "new1", "mac": "nope"},
        {"driver": "virtio-net-pci", "id": "new1", "addr": "0x12"},
        {"driver": "e1000", "id": "new2", "addr": "12.0", "mac": "52-54-00-AB-00-02"},
        {"driver": "virtio-net-pci", "id": "new1", "bus": "nope"},
        {"driver": "virtio-net-pci", "id": "new1", "nope": 1},
        {"driver": "pc-dimm", "id": "new0", "memdev": "mem1"},
        {"driver": "pc-dimm", "id": "new2", "memdev": "memdimm0"},
        {"driver": "pc-dimm", "id": "new2", "memdev": "nope"},
        {"driver": "pc-dimm", "id": "new2"},
        {"driver": "pc-dimm", "id": "new2", "memdev": "mem1", "slot": 0},
        {"driver": "pc-dimm", "id": "new2", "memdev": "mem1", "slot": 7},
        {"driver": "virtio-blk-pci", "id": "new1", "drive": "node0"},
        {"driver": "virtio-blk-pci", "id": "new1", "drive": "nope"},
        {"driver": "virtio-blk-pci", "id": "new1", "drive": "d0"},
        {"driver": "virtio-blk-pci", "id": "new1"},
        {"driver": "virtio-balloon-pci", "id": "new2"},
        {"driver": "virtio-rng-pci", "id": "new2"},
        {"driver": "virtserialport", "id": "new2", "chardev": "new0", "name": "x"},
        {"driver": "virtserialport", "id": "new2", "chardev": "nope", "name": "x"},
        {"driver": "virtserialport", "id": "new2", "chardev": "charchannel0"},
        {"driver": "virtserialport", "id": "new2", "nr": 1},
        {
            "driver": "virtserialport",
            "id": "channel0",
            "bus": "virtio-serial0.0",
            "nr": 1,
            "chardev": "charchannel0",
        },
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "socket-id": 0, "core-id": 2, "thread-id": 0},
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "socket-id": 0, "core-id": 1, "thread-id": 0},
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "socket-id": 1, "core-id": 1, "thread-id": 0},
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "socket-id": 0, "core-id": 4, "thread-id": 0},
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "socket-id": 0, "core-id": 3},
        {"driver": "qemu64-x86_64-cpu", "id": "new1", "core-id": 3},
        {"driver": "qemu64-x86_64-cpu", "id": "new1"},
        {"driver": "max-x86_64-cpu", "id": "new1", "socket-id": 0, "core-id": 3, "thread-id": 0},
        {"driver": "isa-serial", "id": "new1"},
        {"driver": "container", "id": "new1"},
        {"driver": "i440FX", "id": "new1"},
        {"driver": "scsi-hd", "id": "new1", "drive": "node0"},
        {"driver": "usb-tablet", "id": "new1"},
    ),
    "object-add": (
        {"qom-type": "memory-backend-ram", "id": "mem1", "size": 128 << 20},
        {"qom-type": "memory-backend-ram", "id": "mem1", "size": 16 << 20},
        {"qom-type": "memory-backend-ram", "id": "new0"},
        {"qom-type": "memory-backend-ram", "id": "new0", "size": 0},
        {"qom-type": "memory-backend-ram", "id": "new0", "size": "1M"},
        {"qom-type": "memory-backend-ram", "id": "new0", "size": 4096, "share": 1},
        {"qom-type": "memory-backend-ram", "id": "new0", "size": 4096, "nope": 1},
        {"qom-type": "iothread", "id": "new0"},
        {"qom-type": "iothread", "id": "new1", "poll-max-ns": 7},
        {"qom-type": "iothread", "id": "new1", "poll-max-ns": -7},
        {"qom-type": "rng-builtin", "id": "new2"},
    ),
    "netdev_add": (
        {"type": "hubport", "id": "new0", "hubid": 0},
        {"type": "hubport", "id": "new0"},
        {"type": "hubport", "id": "new1", "hubid": -1},
        {"type": "hubport", "id": "new1", "hubid": "x"},
        {"type": "hubport", "id": "hostnet0", "hubid": 0},
        {"type": "nope", "id": "new0"},
        {"type": "hubport", "id": "0a", "hubid": 0},
        {"type": "hubport", "id": "new1", "hubid": 1, "netdev": "nope"},
    ),
    "blockdev-add": (
        {"driver": "null-co", "node-name": "node0", "size": 1 << 20, "read-zeroes": True},
        {"driver": "null-co", "node-name": "new0"},
        {"driver": "null-co", "node-name": "#bad"},
        {"driver": "null-co", "node-name": ""},
        {"driver": "null-co"},
        {"driver": "null-co", "node-name": "d0"},
        {"driver": "null-co", "node-name": "node0", "size": "x"},
        {"driver": "null-co", "node-name": "node0", "cache": {"direct": 1}},
        {"driver": "raw", "node-name": "new1", "file": "node0"},
        {"driver": "raw", "node-name": "new1", "file": "nope"},
        {"driver": "raw", "node-name": "new1"},
        {"driver": "raw", "node-name": "new1", "file": 5},
        {"driver": "raw", "node-name": "new1", "file": {"driver": "nope"}},
        {"driver": "raw", "node-name": "new1", "file": {"driver": "null-co"}},
        {"driver": "nope", "node-name": "node0"},
    ),
    "block_resize": (
        {"node-name": "node0", "size": 2 << 20},
        {"device": "d0", "size": 2 << 20},
        {"device": "nope", "size": 2 << 20},
        {"node-name": "nope", "size": 2 << 20},
        {"size": 2 << 20},
        {"node-name": "node0", "size": -1},
        {"node-name": "node0", "device": "d0", "size": 5},
    ),
    "migrate-set-parameters": (
        {"max-bandwidth": 1000},
        {"downtime-limit": 100},
        {"downtime-limit": 99999999},
        {"compress-level": 10},
        {"compress-level": -1},
        {"compress-level": 300},
        {"tls-creds": "x"},
        {"tls-creds": None},
        {"tls-creds": 5},
        {"multifd-compression": "nope"},
        {"nope": 1},
        {"cpu-throttle-initial": 0},
        {"cpu-throttle-increment": 100},
        {"max-cpu-throttle": 1},
        {"xbzrle-cache-size": 5},
        {"announce-max": 200000},
        {"block-bitmap-mapping": []},
    ),
    "send-key": (
        {"keys": [{"type": "qcode", "data": "a"}]},
        {"keys": [{"type": "number", "data": 1}], "hold-time": 10},
    ),
}
#: Those that make something.
MADE: Final = words(
    "device_add device_add device_add object-add netdev_add chardev-add blockdev-add device_del object-del "
    "migrate-set-parameters qom-set qom-get migrate human-monitor-command"
)
#: What the real QEMU would do something with: the arguments are wrong, or none is sent.
NEVER_VALID: Final = ("migrate", "quit", "getfd", "migrate-incoming", "qmp_capabilities")


class Requests:
    """Makes requests: the same for the same seed."""

    RECONNECT: Final = b"(another client)"

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._texts = Generator(seed)

    def arguments(self) -> tuple[str, ...]:
        """Return how QEMU is started."""
        return self.random.choice((("-S",), ("-S",), (), ("-no-shutdown",)))

    def requests(self, count: int) -> Iterator[bytes]:
        """Make requests, with clients that come and negotiate, and at times the end of QEMU."""
        if self.random.random() < 0.7:
            yield b'{"execute":"qmp_capabilities"}'
        for _ in range(count):
            if self.random.random() < 0.02:
                yield self.RECONNECT
                if self.random.random() < 0.8:
                    yield b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}'
            yield self.request()
        yield b'{"execute":"quit","id":[1]}'

    def of_any_kind(self, count: int) -> Iterator[bytes]:
        """Make requests that a real QEMU is not asked: values of any kind for members of any name."""
        members = words(
            "addr slot memdev nr size drive bus socket-id core-id thread-id props poll-max-ns netdev type id "
            "hubid qom-type node-name file name chardev serial mac chassis_nr backend uri driver"
        )
        for _ in range(count):
            request = self._valid(self.random.choice(MADE))
            arguments = request.setdefault("arguments", {})
            for _ in range(self.random.choice((0, 1, 1, 2))):
                arguments[self.random.choice([*arguments, *members])] = self._texts._value(2)
            yield self._write(request)

    def request(self) -> bytes:
        """Make what is written at once."""
        pick = self.random.random()
        if pick < 0.06:
            return self._damaged()
        if pick < 0.09:
            count = self.random.choice((2, 3, 8))
            # One out of band is answered when the thread that reads has come to it: others overtake it or not.
            requests = (self._one() for _ in range(count))
            return b"".join(self._write(each) for each in requests if "exec-oob" not in each)
        return self._write(self._one())

    def _damaged(self) -> bytes:
        texts = self._texts
        pick = self.random.random()
        if pick < 0.2:
            return (
                self.random.choice(
                    (b"\xff", b"\x00", b"\r\n", b"\n", b" ", b"\t", b"", b"\x7f", b"\xc3\xa9")
                )
                + b"\n"
            )
        if pick < 0.4:
            return texts._nesting().replace(b"guest-ping", b"query-status")
        if pick < 0.5:
            return json.dumps({"execute": "x" * self.random.choice((100, 5000, 70000))}).encode()
        request = {"execute": self.random.choice(QUERIES), "id": texts._value(3)}
        text = texts._write(request)
        return texts._damage(text) if pick < 0.8 else text + b"\r\n"

    def _write(self, request: dict[str, Any]) -> bytes:
        return json.dumps(request).encode() + self.random.choice((b"", b"", b"\n", b"\r\n", b" "))

    def _one(self) -> dict[str, Any]:
        pick = self.random.random()
        choose = self.random.choice
        if pick < 0.08:
            request = self._refused(choose(OTHERS))
        elif pick < 0.13:
            request = {
                "execute": choose(("nope", "", "query-", "QUERY-STATUS", "qmp_capabilities"))
            }
        else:
            name = choose(CHANGES if pick < 0.7 else [*QUERIES, *CHANGES])
            request = self._refused(name) if name in NEVER_VALID else self._valid(name)
            # Of two wrong properties, QEMU names one in an order that is not known.
            if name not in (*NEVER_VALID, "device_add") and self.random.random() < 0.15:
                self._change(request)
        if self.random.random() < 0.3:
            request["id"] = self._texts._value(2)
        if self.random.random() < 0.03:
            request["exec-oob"] = request.pop("execute")
        if self.random.random() < 0.02:
            request[choose(("nope", "control", "exec-oob", "arguments"))] = self._texts._value(1)
        return request

    def _refused(self, name: str) -> dict[str, Any]:
        """Ask for something with an argument that it has not."""
        arguments = {} if name == "getfd" else {"no-such": 1}
        for each in RELEASE.arguments_of(name):
            if self.random.random() < 0.6:
                arguments[each] = self._texts._value(1)
        return {"execute": name, "arguments": arguments}

    def _valid(self, name: str) -> dict[str, Any]:
        choose = self.random.choice
        if name in WHOLE:
            return {"execute": name, "arguments": dict(choose(WHOLE[name]))}
        arguments: dict[str, Any] = {}
        for member in RELEASE.arguments_of(name):
            if self.random.random() < 0.8 and member in VALUES:
                arguments[member] = choose(VALUES[member])
        if name == "qom-list" and arguments.get("path") in ("/machine", "/machine/unattached"):
            # What the machine has that is no device with an id is not simulated.
            arguments["path"] = "/machine/peripheral"
        if not arguments and self.random.random() < 0.8:
            return {"execute": name}
        return {"execute": name, "arguments": arguments}

    def _change(self, request: dict[str, Any]) -> None:
        """Change an argument: another value or name, or none."""
        arguments = request.setdefault("arguments", {})
        names = list(arguments)
        kind = self.random.randrange(4)
        if kind == 0 or not names:
            arguments[self.random.choice(("no-such", "id2", "a", "é"))] = self._texts._value(1)
        elif kind == 1:
            del arguments[self.random.choice(names)]
        elif kind == 2:
            request["arguments"] = self._texts._value(1)
        else:
            value = self._texts._value(1)
            if not isinstance(value, str):
                arguments[self.random.choice(names)] = value
