"""Errors of scenarios: every check, with its place and how to fix it."""

import pytest

from qgasim.errors import ScenarioError
from qgasim.scenario import loads

#: A text, and all that is wrong with it.
WRONG: dict[str, tuple[str, list[str]]] = {
    "everything at once": (
        """\
qgasim: 1
sed: 7
agent:
  chanel: unix-listen
  respawn: often
guest:
  vcpus: many
  nics:
    - mac: 1
      adresses: []
    - {name: a, up: maybe}
  files:
    /a: {kind: dir}
    /a: x
""",
        [
            "f:2:1: unknown key 'sed' (did you mean 'seed'?)",
            "f:4:3: agent: unknown key 'chanel' (did you mean 'channel'?)",
            (
                "f:5:12: agent.respawn: expected a duration, as in 250ms or 1h or never, "
                "found 'often'"
            ),
            "f:7:10: guest.vcpus: expected an integer or a list, found 'many'",
            "f:9:7: guest.nics[0]: 'name' is missing",
            "f:10:7: guest.nics[0]: unknown key 'adresses' (did you mean 'addresses'?)",
            "f:11:21: guest.nics[1].up: expected true or false, found 'maybe'",
            "f:13:16: guest.files./a.kind: expected one of directory, file, fifo, found 'dir'",
            "f:14:5: guest.files: duplicate key '/a'",
        ],
    ),
    "an unknown key that resembles none": (
        "zzz: 1",
        [
            (
                "f:1:1: unknown key 'zzz' (expected one of qgasim, description, origin, tags, severity, expect, "
                "extends, seed, agent, guest, machine, replies, faults, nemesis, timeline, fleet)"
            )
        ],
    ),
    "what an agent does not start with": (
        'agent: {release: "9.0", allow_rpcs: [guest-ping], block_rpcs: [guest-exec]}',
        [
            (
                "f:1:37: agent.allow_rpcs: qemu-ga 9.0.0 does not start: wrong commandline, using "
                "--block-rpcs and --allow-rpcs at the same time is not allowed"
            )
        ],
    ),
    "a duplicate key": ("seed: 1\nseed: 2", ["f:2:1: duplicate key 'seed'"]),
    "a duplicate key with a base": (
        "extends: debian-12\nseed: 1\nseed: 2",
        ["f:3:1: duplicate key 'seed'"],
    ),
    "a key that is no text": ("[a]: 1", ["f:1:1: a key must be a text"]),
    "a key that is no text, with a base": (
        "extends: debian-12\n[a]: 1",
        ["f:2:1: a key must be a text"],
    ),
    "a version that is a text": (
        "qgasim: '1'",
        ["f:1:9: qgasim: expected 1, found '1' (write it without quotes)"],
    ),
    "another version": ("qgasim: 2", ["f:1:9: qgasim: expected 1, found a number (2)"]),
    "a wrong choice": (
        "agent: {channel: virtio}",
        [
            (
                "f:1:18: agent.channel: expected one of virtio-serial, isa-serial, unix-listen, vsock-listen, found 'virtio' "
                "(did you mean 'virtio-serial'?)"
            )
        ],
    ),
    "a fault that never fires": (
        "faults: [{kind: drop, after: -1, times: 0, every: 0, probability: 0}]",
        [
            "f:1:30: faults[0].after: expected 0 or more, found -1",
            "f:1:41: faults[0].times: expected 1 or more, found 0",
            "f:1:51: faults[0].every: expected 1 or more, found 0",
            "f:1:67: faults[0].probability: expected above 0 and at most 1, found 0.0",
        ],
    ),
    "a fault in a state in which it cannot fire": (
        "faults: [{kind: refuse, when: booting}, {kind: drop, when: booting}]",
        [
            (
                "f:1:60: faults[1].when: no request is executed while the guest is booting "
                "(expected up, frozen or a mapping)"
            )
        ],
    ),
    "connections that are counted and not accepted": (
        "faults: [{kind: refuse, accepts: false, times: 3}]",
        ["f:1:48: faults[0].times: connections that are not accepted cannot be counted"],
    ),
    "a fault for a part of a command's name": (
        "faults: [{kind: drop, on: fsfreeze}]",
        [
            (
                "f:1:27: faults[0].on: qemu-ga 7.2 has no command 'fsfreeze' "
                "(did you mean 'guest-fsfreeze-status'?)"
            )
        ],
    ),
    "a fault for a command that there is not": (
        "faults: [{kind: drop, on: guest-pong}]",
        [
            (
                "f:1:27: faults[0].on: qemu-ga 7.2 has no command 'guest-pong' "
                "(did you mean 'guest-ping'?)"
            )
        ],
    ),
    "a fault with a pattern that is none": (
        "faults: [{kind: drop, on: {command: guest-exec, arguments: {path: {glob: 1}}}}]",
        ["f:1:27: faults[0].on: glob takes a text, not 1"],
    ),
    "a fault of no kind": (
        "faults: [{keep: 3}]",
        [
            (
                "f:1:10: faults[0]: 'kind' is missing (one of accept_then_silence, bandwidth, bom, "
                "close, corrupt, crash, crlf, delay, drop, duplicate, edit, empty, extra_sentinel, "
                "garbage, half_close, hang, huge, ignore, error, invalid_utf8, kill_on, late, leak, legal_variation, "
                "missing_sentinel, no_newline, refuse, reorder, reset, split, stale, truncate, "
                "wrong_id, delay_event, drop_event, duplicate_event, early_event)"
            )
        ],
    ),
    "no delay, and two": (
        "faults: [{kind: delay}, {kind: delay, by: 1s, uniform: {most: 1s}}]",
        [
            "f:1:10: faults[0]: no delay is given (expected by, uniform, normal, lognormal or growing)",
            "f:1:56: faults[1].uniform: 'by' and 'uniform' are mutually exclusive",
        ],
    ),
    "a longest delay below the shortest": (
        "faults: [{kind: delay, uniform: {least: 2s, most: 1s}}]",
        ["f:1:51: faults[0].uniform.most: expected at least as much as 'least'"],
    ),
    "a reply split into nothing": (
        "faults: [{kind: split, sizes: []}, {kind: split, sizes: [4, 0]}]",
        [
            "f:1:31: faults[0].sizes: expected one size or more",
            "f:1:61: faults[1].sizes[1]: expected 1 or more, found 0",
        ],
    ),
    "no bandwidth": (
        "faults: [{kind: bandwidth, bytes_per_second: 0, ticks: 0}]",
        [
            "f:1:46: faults[0].bytes_per_second: expected 1 or more, found 0",
            "f:1:56: faults[0].ticks: expected 1 or more, found 0",
        ],
    ),
    "no garbage, and two, and what is none": (
        "faults: [{kind: garbage}, {kind: garbage, text: €, hex: g}, {kind: garbage, random: 2MiB}]",
        [
            "f:1:10: faults[0]: no bytes are given (expected text, hex or random)",
            "f:1:49: faults[1].text: a character above U+00FF is not a byte",
            "f:1:57: faults[1].hex: 'text' and 'hex' are mutually exclusive",
            "f:1:57: faults[1].hex: not hexadecimal: 'g'",
            "f:1:85: faults[2].random: expected at most 1 MiB, found 2097152",
        ],
    ),
    "faults without a bound": (
        "faults: [{kind: corrupt, bits: 2000000}, {kind: huge, size: 65MiB}]",
        [
            "f:1:32: faults[0].bits: expected at most 1048576, found 2000000",
            "f:1:61: faults[1].size: expected at most 64 MiB, found 68157440",
        ],
    ),
    "interfaces without a bound": (
        "guest: {nics: [{name: 'e{i}', count: 9223372036854775808}]}",
        [
            "f:1:38: guest.nics[0].count: expected from 1 to 10000, found 9223372036854775808",
        ],
    ),
    "nothing to corrupt or to edit": (
        "faults: [{kind: corrupt}, {kind: edit}]",
        [
            "f:1:10: faults[0]: nothing to corrupt (expected at or bits)",
            "f:1:27: faults[1]: nothing to edit (expected set, remove or retype)",
        ],
    ),
    "a place that is none": (
        "faults: [{kind: edit, set: {a: 1}, remove: [b]}]",
        [
            (
                "f:1:32: faults[0].set.a: not a JSON Pointer: 'a' "
                "(expected one as in /0/ip-addresses)"
            ),
            (
                "f:1:45: faults[0].remove[0]: not a JSON Pointer: 'b' "
                "(expected one as in /0/ip-addresses)"
            ),
        ],
    ),
    "an answer too often": (
        "replies: [{on: guest-ping, in_turn: [{reply: 1, times: 1000001}, {reply: 2}]}]",
        ["f:1:56: replies[0].in_turn[0].times: expected at most 1000000, found 1000001"],
    ),
    "a nemesis without rest or without kinds": (
        "nemesis: {rate: 1e9, kinds: []}",
        [
            "f:1:17: nemesis.rate: expected above 0 and at most 6000, found 1000000000.0",
            "f:1:29: nemesis.kinds: expected one kind or more",
        ],
    ),
    "an event never": (
        "timeline: [{do: wake, after: guest-ping, count: 0}]",
        ["f:1:49: timeline[0].count: expected 1 or more, found 0"],
    ),
    "an event that does not say when": (
        "timeline: [{do: reboot}, {do: reboot, at: 1s, on: up}, {do: wake, at: 1s, count: 2}]",
        [
            "f:1:12: timeline[0]: no time is given (expected at, since_boot, after or on)",
            "f:1:51: timeline[1].on: 'at' and 'on' are mutually exclusive",
            "f:1:82: timeline[2].count: has no effect without 'after'",
        ],
    ),
    "an event about a fault that there is not": (
        "{faults: [{kind: hang, name: stuck}], timeline: [{do: fault_off, fault: stock, at: 1s}]}",
        [("f:1:73: timeline[0].fault: no fault is called 'stock' (did you mean 'stuck'?)")],
    ),
    "an event about what there is not": (
        "timeline: [{do: addresses, nic: eth0, at: 1s}, {do: disk_fills, path: /srv, used: 1, at: 1s}]",
        [
            "f:1:33: timeline[0].nic: there is no interface 'eth0'",
            "f:1:71: timeline[1].path: nothing is mounted at '/srv'",
        ],
    ),
    "an upgrade to a release that there is not": (
        "timeline: [{do: agent_upgrades, release: 1.0, at: 1s}]",
        [
            (
                "f:1:42: timeline[0].release: no such release: '1.0' "
                "(expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)"
            )
        ],
    ),
    "an upgrade to what does not start": (
        (
            "{agent: {allow_rpcs: [guest-ping], block_rpcs: [guest-info]},"
            " timeline: [{do: agent_upgrades, release: 8.2, at: 1s}]}"
        ),
        [
            (
                "f:1:104: timeline[0].release: qemu-ga 8.2.0 does not start: wrong commandline, using "
                "--block-rpcs and --allow-rpcs at the same time is not allowed"
            )
        ],
    ),
    "a way back to a snapshot that is never taken": (
        "timeline: [{do: snapshot, name: clean, at: 1s}, {do: revert, to: clear, at: 2s}]",
        [
            "f:1:66: timeline[1].to: no event takes a snapshot 'clear' (did you mean 'clean'?)",
        ],
    ),
    "more snapshots than are kept": (
        f"timeline: [{', '.join(f'{{do: snapshot, name: s{i}, at: {i}s}}' for i in range(17))}]",
        ["f:1:11: timeline: at most 16 snapshots can be kept, found 17"],
    ),
    "a past of two kinds": (
        "faults: [{kind: stale, age: 1s, as_of: 2s}]",
        ["f:1:40: faults[0].as_of: 'age' and 'as_of' are mutually exclusive"],
    ),
    "bytes that are none": (
        "agent: {stale_bytes: €}",
        ["f:1:22: agent.stale_bytes: a character above U+00FF is not a byte"],
    ),
    "an agent that writes nothing": (
        "agent: {write_size: 0}",
        ["f:1:21: agent.write_size: expected from 1 to 1073741824, found 0"],
    ),
    "stale bytes of an agent that listens itself": (
        "agent: {channel: unix-listen, stale_bytes: x, keep_unread: true}",
        [
            "f:1:44: agent.stale_bytes: has no effect on the channel unix-listen",
            "f:1:60: agent.keep_unread: has no effect on the channel unix-listen",
        ],
    ),
    "a guest that begins frozen, with Windows": (
        "agent: {is_frozen: true}\nguest: {os: {family: windows}}",
        ["f:1:20: agent.is_frozen: a guest can begin frozen only if guest.os.family is linux"],
    ),
    "a guest that begins frozen, though one refuses": (
        "agent: {is_frozen: true}\nguest: {mounts: [{device: rootfs, path: /, freeze_error: EIO}]}",
        [
            "f:2:58: guest.mounts[0].freeze_error: contradicts agent.is_frozen (a freeze that fails freezes nothing)",
        ],
    ),
    "no mapping": ("- a", ["f:1:1: expected a mapping, found a list"]),
    "a text": ("guest", ["f:1:1: expected a mapping, found 'guest'"]),
    "nothing": ("", ["f:1:1: the file is empty (begin with `qgasim: 1`)"]),
    "a comment": ("# a\n", ["f:1:1: the file is empty (begin with `qgasim: 1`)"]),
    "two documents": (
        "---\nseed: 1\n---\nseed: 2\n",
        ["f:3:1: a second document (expected one in a file)"],
    ),
    "NUL": (
        "a: \0",
        [
            (
                "f:1:4: the character U+0000 cannot be in a YAML file "
                '(write "\\u0000", in double quotes)'
            )
        ],
    ),
    "half a surrogate pair": (
        "description: \ud800",
        ["f:1:14: not Unicode: half a surrogate pair"],
    ),
    "an unknown alias": (
        "guest: *a",
        ["f:1:8: no anchor '&' of this name comes before (quote a text that begins with '*')"],
    ),
    "a wrong type behind an alias": (
        "description: &a [1]\nseed: *a\n",
        [
            "f:1:14: description: expected a text, found a list",
            "f:1:14: seed: expected an integer, found a list",
        ],
    ),
    "an alias of itself": ("a: &a [*a]", ["f:1:4: an alias of something that it is in"]),
    "a base that is not there": (
        "extends: nosuch",
        ["f:1:10: extends: nosuch: no such scenario (`qgasim scenarios` lists them)"],
    ),
    "a release that there is not": (
        "agent: {release: '1.0'}",
        [
            (
                "f:1:18: agent.release: no such release: '1.0' "
                "(expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)"
            )
        ],
    ),
    "a rate of nothing": (
        "guest: {clock: {rate: 0}}",
        ["f:1:23: guest.clock.rate: expected above 0 and at most 1000000, found 0.0"],
    ),
    "a drift that stops the clock": (
        "guest: {clock: {drift: -1e6}}",
        ["f:1:24: guest.clock.drift: expected less than a million either way, found -1000000.0"],
    ),
    "a zone that there is not": (
        "guest: {clock: {zone: Europe/Prag}}",
        [
            (
                "f:1:23: guest.clock.zone: no such time zone: 'Europe/Prag' "
                "(expected a name as in Europe/Prague)"
            )
        ],
    ),
    "a hardware address that is none": (
        "guest: {nics: [{name: e, mac: 52:54:00}]}",
        [("f:1:31: guest.nics[0].mac: not a MAC address: '52:54:00' (expected six hex pairs)")],
    ),
    "an address that is none": (
        "guest: {nics: [{name: e, addresses: [192.0.2.1/24, 192.0.2.300/24]}]}",
        [
            (
                "f:1:52: guest.nics[0].addresses[1]: not an address: '192.0.2.300/24' "
                "(expected one as in 192.0.2.7/24 or fe80::1/64)"
            )
        ],
    ),
    "an address twice": (
        "guest: {nics: [{name: a, addresses: [192.0.2.1/24]}, {name: b, addresses: [192.0.2.1/32]}]}",
        ["f:1:76: guest.nics[1].addresses[0]: a has 192.0.2.1 already"],
    ),
    "an interface's name twice": (
        "guest: {nics: [{name: a}, {name: a}]}",
        ["f:1:34: guest.nics[1].name: the name 'a' twice (first in entry 0)"],
    ),
    "many interfaces of one name": (
        "guest: {nics: [{name: a, count: 3}]}",
        ["f:1:23: guest.nics[0].name: expected {i} in the name of 3 interfaces, found 'a'"],
    ),
    "no interfaces at all": (
        "guest: {nics: [{name: a, count: 0}]}",
        ["f:1:33: guest.nics[0].count: expected from 1 to 10000, found 0"],
    ),
    "a controller that is none": (
        "guest: {disks: [{name: vda, pci: 4}]}",
        ["f:1:34: guest.disks[0].pci: not a PCI address: '4' (expected one as in 0000:00:06.0)"],
    ),
    "a disk's name twice": (
        "guest: {disks: [{name: vda}, {name: vda}]}",
        ["f:1:37: guest.disks[1].name: the name 'vda' twice (first in entry 0)"],
    ),
    "a mount without its disk": (
        "guest: {disks: [{name: vda}], mounts: [{device: /dev/vdb, path: /}]}",
        [
            (
                "f:1:49: guest.mounts[0].device: no disk or partition is called 'vdb' "
                "(did you mean 'vda'?)"
            )
        ],
    ),
    "a disk upon none": (
        "guest: {disks: [{name: dm-0, depends: [vda3]}], mounts: [{device: /dev/dm-0, path: /}]}",
        ["f:1:40: guest.disks[0].depends[0]: no disk or partition is called 'vda3'"],
    ),
    "a mount point that is relative": (
        "guest: {mounts: [{device: rootfs, path: /}, {device: tmpfs, path: tmp}]}",
        ["f:1:67: guest.mounts[1].path: expected an absolute path, found 'tmp'"],
    ),
    "blocks of odd sizes": (
        "guest: {mounts: [{device: rootfs, path: /, block_size: 1000}]}",
        ["f:1:56: guest.mounts[0].block_size: expected a power of two from 512, found 1000"],
    ),
    "more in use than there is": (
        "guest: {mounts: [{device: rootfs, path: /, size: 1M, used: 2M}]}",
        ["f:1:60: guest.mounts[0].used: expected at most the size, 1048576, found 2097152"],
    ),
    "no root": (
        "guest: {mounts: []}",
        ["f:1:17: guest.mounts: expected the first to have the path /"],
    ),
    "no processor": (
        "guest: {vcpus: 0}",
        ["f:1:16: guest.vcpus: expected from 1 to 8192, found 0"],
    ),
    "a processor twice": (
        "guest: {vcpus: [{id: 0}, {id: 0}]}",
        ["f:1:31: guest.vcpus[1].id: the id '0' twice (first in entry 0)"],
    ),
    "memory in blocks of nothing": (
        "guest: {memory: {size: 1GiB, block_size: 0}}",
        ["f:1:42: guest.memory.block_size: expected at least 1/65536 of size"],
    ),
    "a memory block twice": (
        "guest: {memory: {blocks: [{index: 1}, {index: 1}]}}",
        ["f:1:47: guest.memory.blocks[1].index: the index '1' twice (first in entry 0)"],
    ),
    "a file with two contents": (
        "guest: {files: {/a: {text: a, size: 1M}}}",
        ["f:1:37: guest.files./a.size: 'text' and 'size' are mutually exclusive"],
    ),
    "a file that is not base64": (
        "guest: {files: {/a: {base64: '!'}}}",
        ["f:1:30: guest.files./a.base64: not base64"],
    ),
    "a filling of nothing": (
        "guest: {files: {/a: {text: a, fill: b}, /b: {size: 1, fill: ''}}}",
        [
            "f:1:37: guest.files./a.fill: has no effect without 'size'",
            "f:1:61: guest.files./b.fill: expected a byte or more",
        ],
    ),
    "two fillings": (
        "guest: {files: {/a: {size: 1, fill: a, fill_base64: YQ==}}}",
        ["f:1:53: guest.files./a.fill_base64: 'fill' and 'fill_base64' are mutually exclusive"],
    ),
    "a mode that is none": (
        "guest: {files: {/a: {text: '', mode: rw}}}",
        [("f:1:38: guest.files./a.mode: not a mode: 'rw' (expected octal digits as in \"0644\")")],
    ),
    "a link's mode": (
        "guest: {files: {/a: {symlink: b, mode: '0777'}}}",
        ["f:1:40: guest.files./a.mode: has no effect on a symbolic link"],
    ),
    "an owner that is no user": (
        "guest: {users: {alice: {}}, files: {/a: {text: '', owner: alise}}}",
        ["f:1:59: guest.files./a.owner: there is no user 'alise' (did you mean 'alice'?)"],
    ),
    "an owner that cannot be a user": (
        "guest: {files: {/a: {entries: {b: {text: '', owner: 'a:b:c'}}}}}",
        [
            (
                "f:1:53: guest.files./a.entries.b.owner: not an owner: 'a:b:c' "
                "(expected one as in alice or 1000:1000)"
            )
        ],
    ),
    "a file that is relative": (
        "guest: {files: {a: b}}",
        ["f:1:20: guest.files.a: expected an absolute path, found 'a'"],
    ),
    "a source that is not there": (
        "guest: {files: {/a: {source: no/such}}}",
        ["f:1:30: guest.files./a.source: no/such: No such file or directory"],
    ),
    "a program that is relative": (
        "guest: {programs: [{path: ls}]}",
        ["f:1:27: guest.programs[0].path: expected an absolute path, found 'ls'"],
    ),
    "a signal that is none": (
        "guest: {programs: [{path: /a, signal: 65, exit_code: 1}]}",
        [
            "f:1:39: guest.programs[0].signal: expected from 1 to 64, found 65",
            "f:1:54: guest.programs[0].exit_code: has no effect on a program that a signal ends",
        ],
    ),
    "patterns of programs that are none": (
        "guest: {programs: [{path: /a, args: {regex: '('}}, {path: /b, args: [{}]}]}",
        [
            (
                "f:1:45: guest.programs[0].args.regex: not a regular expression: '('"
                " (missing ), unterminated subpattern at position 0)"
            ),
            "f:1:70: guest.programs[1].args[0]: expected one of 'glob' and 'regex'",
        ],
    ),
    "values that an output cannot show": (
        (
            "guest: {programs: [{path: /a, stdout: '{hostnam}', stderr: '{ip}'}, {path: /b, in_turn:"
            " [{stdout: '{uptime x}'}, {stderr: '{arg x}'}, {stdout: '{mac eth1}'}]}]}"
        ),
        [
            (
                "f:1:39: guest.programs[0].stdout: there is no value {hostnam} (did you mean"
                " 'hostname'?); a brace itself is written {{hostnam}"
            ),
            "f:1:60: guest.programs[0].stderr: {ip} needs a word, as in {ip eth0}",
            "f:1:99: guest.programs[1].in_turn[0].stdout: {uptime} takes no word, but found {uptime x}",
            "f:1:123: guest.programs[1].in_turn[1].stderr: {arg x}: expected the number of an argument",
            "f:1:144: guest.programs[1].in_turn[2].stdout: no interface is called 'eth1'",
        ],
    ),
    "results of a program twice": (
        "guest: {programs: [{path: /a, exit_code: 1, in_turn: [{exit_code: 300, times: 0}]}]}",
        [
            (
                "f:1:42: guest.programs[0].exit_code: has no effect beside 'in_turn'"
                " (its entries have their own)"
            ),
            "f:1:67: guest.programs[0].in_turn[0].exit_code: expected from 0 to 255, found 300",
            "f:1:79: guest.programs[0].in_turn[0].times: expected from 1 to 1000000, found 0",
        ],
    ),
    "an error of the kernel that is none": (
        "guest: {mounts: [{device: rootfs, path: /, freeze_error: EWHAT}]}",
        [
            "f:1:58: guest.mounts[0].freeze_error: expected an error's name, as in EIO or a mapping, found 'EWHAT'"
        ],
    ),
    "a stub for a command that there is not": (
        "replies: [{on: guest-pong, reply: {}}, {on: {command: host-*}, reply: {}}]",
        [
            (
                "f:1:16: replies[0].on: qemu-ga 7.2 has no command 'guest-pong' "
                "(did you mean 'guest-ping'?)"
            ),
            "f:1:45: replies[1].on: qemu-ga 7.2 has no command 'host-*'",
        ],
    ),
    "a stub without an answer": (
        "replies: [{on: guest-ping}]",
        ["f:1:11: replies[0]: no answer is given (expected reply, error, raw or in_turn)"],
    ),
    "a stub with two answers": (
        "replies: [{on: guest-ping, reply: null, raw: ''}]",
        ["f:1:46: replies[0].raw: 'reply' and 'raw' are mutually exclusive"],
    ),
    "an answer that is no bytes": (
        "replies: [{on: guest-ping, raw: €}]",
        ["f:1:33: replies[0].raw: a character above U+00FF is not a byte"],
    ),
    "an answer never": (
        "replies: [{on: guest-ping, in_turn: [{reply: 1, times: 0}, {}]}]",
        [
            "f:1:56: replies[0].in_turn[0].times: expected 1 or more, found 0",
            "f:1:60: replies[0].in_turn[1]: no answer is given (expected reply, error or raw)",
        ],
    ),
    "a count without effect": (
        "replies: [{on: guest-ping, in_turn: [{reply: 1}], times: 2}]",
        [
            "f:1:58: replies[0].times: has no effect beside 'in_turn' (its entries have their own)",
        ],
    ),
    "a command that cannot be added": (
        "replies: [{on: 'guest-*', reply: 1, adds: true}]",
        ["f:1:16: replies[0].on: not the name of a command that could be added: 'guest-*'"],
    ),
    "a pattern that is none": (
        "replies: [{on: {command: guest-exec, arguments: {path: {regex: '('}}}, reply: 1}]",
        [
            (
                "f:1:16: replies[0].on: not a regular expression: '(' "
                "(missing ), unterminated subpattern at position 0)"
            )
        ],
    ),
    "what is wrong in one part does not hide the rest": (
        """\
guest:
  vcpus: many
  nics:
    - {name: a, addresses: [192.0.2.1/24]}
    - {name: b, addresses: [192.0.2.1/24]}
  disks: [{name: vda, size: large}]
  mounts: [{device: /dev/vdb, path: /}]
replies: [{on: guest-pong, reply: 1}]
""",
        [
            "f:2:10: guest.vcpus: expected an integer or a list, found 'many'",
            "f:5:29: guest.nics[1].addresses[0]: a has 192.0.2.1 already",
            "f:6:29: guest.disks[0].size: expected a size, as in 16MiB, found 'large'",
            (
                "f:8:16: replies[0].on: qemu-ga 7.2 has no command 'guest-pong' (did you mean "
                "'guest-ping'?)"
            ),
        ],
    ),
    "a key of another place": (
        "hostname: a\nguest: {faults: [], release: 7.2}\nrelease: 7.2",
        [
            "f:1:1: unknown key 'hostname' (it belongs in 'guest')",
            "f:2:9: guest: unknown key 'faults' (it belongs to the keys at the top)",
            "f:2:21: guest: unknown key 'release' (it belongs in 'os')",
            "f:3:1: unknown key 'release' (it belongs in 'agent')",
        ],
    ),
    "a merge key": (
        "guest: {nics: [{name: a}, {<<: {up: true}, name: b}]}",
        [
            (
                "f:1:28: guest.nics[1]: unknown key '<<' (YAML 1.2 merges nothing; write "
                "'extends', or an alias of the whole)"
            ),
        ],
    ),
    "a tag": (
        "guest: {files: {/a: !!binary aGVsbG8=, /b: !mine b}}",
        [
            (
                "f:1:21: guest.files./a: unsupported tag !!binary (bytes are written as "
                "{base64: ...})"
            ),
            "f:1:44: guest.files./b: unsupported tag !mine",
        ],
    ),
    "a space that is missing": (
        "guest: {hostname:a, vcpus: 2}",
        [
            "f:1:9: guest: unknown key 'hostname:a' (is a space missing after the ':'?)",
        ],
    ),
    "a tab": (
        "guest:\n\thostname: a",
        [
            "f:2:1: a tab (indent with spaces)",
        ],
    ),
    "a text with a colon": (
        "description: one: two",
        [
            (
                "f:1:17: a ': ' cannot be here (quote a text that holds one, or look at the "
                "indentation)"
            ),
        ],
    ),
    "a text that begins with what it must not": (
        "description: @home",
        [
            "f:1:14: a text must not begin with '@' (quote it)",
        ],
    ),
    "a wildcard without quotes": (
        "replies: [{on: *-exec, reply: 1}]",
        [
            "f:1:16: no anchor '&' of this name comes before (quote a text that begins with '*')",
        ],
    ),
    "a brace that is not closed": (
        "guest: {hostname: a\nseed: 1",
        [
            "f:2:5: expected ',' or '}', for what was opened in line 1",
        ],
    ),
    "quotes that are not closed": (
        "seed: 1\ndescription: 'a\nguest: {}",
        [
            "f:2:14: the quotes that begin here are not closed",
        ],
    ),
    "a quote within quotes": (
        "description: 'it's'",
        [
            "f:1:18: something after the end of a value (quote the whole)",
        ],
    ),
    "a Windows path in double quotes": (
        'guest: {files: {/a: "C:\\Windows"}}',
        [
            (
                "f:1:24: a '\\' in double quotes begins an escape, and this is none (write "
                "'\\\\', or use single quotes)"
            ),
        ],
    ),
    "a line that is not indented as the others": (
        "guest:\n  hostname: a\n vcpus: 2",
        [
            "f:3:2: this indentation matches no line above, back to line 1",
        ],
    ),
    "a list that goes on as a mapping": (
        "replies:\n  - on: guest-ping\n  reply: 1",
        [
            "f:3:3: expected '- ', as in line 2, or another indentation",
        ],
    ),
    "a list behind its key": (
        "replies: - on: guest-ping",
        [
            (
                "f:1:10: a '- ' cannot be here (quote a text that holds one, or look at the "
                "indentation)"
            ),
        ],
    ),
    "a key without a colon": (
        "guest:\n  hostname\n  vcpus: 2",
        [
            "f:3:8: a ': ' cannot be here (quote a text that holds one, or look at the indentation)",
        ],
    ),
    "an anchor without a name": (
        "description: & b",
        [
            "f:1:15: expected a name after '&' (quote a text that begins with it)",
        ],
    ),
    "a value that begins with a bracket": (
        "description: ] b",
        [
            "f:1:14: expected a value, found ']' (quote a text that begins with it)",
        ],
    ),
    "a YAML of the future": (
        "%YAML 3.0\n---\nseed: 1",
        [
            "f:1:1: expected %YAML 1.2",
        ],
    ),
    "more than a document": (
        '{"seed": 1}\nguest: {}',
        [
            "f:2:1: something after the end of the document",
        ],
    ),
    "a directive without a document": (
        "%YAML 1.2\nseed: 1",
        [
            "f:2:1: expected '---' after the lines with '%'",
        ],
    ),
    "too deep": (
        "replies: [{on: guest-ping, reply: " + "[" * 200 + "]" * 200 + "}]",
        [
            "f:1:133: nested too deeply (expected at most 100 levels)",
        ],
    ),
    "a very long number": (
        "seed: " + "9" * 500,
        [
            (
                "f:1:7: seed: expected an integer, found a number "
                "(999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999..."
            ),
        ],
    ),
    "a text of more than a line": (
        'guest: {nics: [{name: e, mac: "a\\nb"}]}',
        [
            "f:1:31: guest.nics[0].mac: not a MAC address: 'a\\nb' (expected six hex pairs)",
        ],
    ),
    "a size of more than a file can have": (
        "guest: {files: {/a: {size: 8388608TiB}}}",
        [
            "f:1:28: guest.files./a.size: expected at most 8EiB - 1, found '8388608TiB'",
        ],
    ),
    "a time of more than a century": (
        "guest: {power: {boot_time: 36526d}}",
        [
            "f:1:28: guest.power.boot_time: expected at most 36525d, found '36526d'",
        ],
    ),
    "too few load averages": (
        "guest: {load: [1, 2]}",
        [
            "f:1:15: guest.load: expected a list of 3, found one of 2",
        ],
    ),
    "a load that is none": (
        "guest: {load: [0, -1, .inf]}",
        [
            "f:1:19: guest.load[1]: expected 0 or more, found -1.0",
            "f:1:23: guest.load[2]: expected 0 or more, found inf",
        ],
    ),
    "a host name that is none": (
        "guest: {hostname: a b}",
        [
            "f:1:19: guest.hostname: not a host name: 'a b'",
        ],
    ),
    "a host name that is too long": (
        "guest: {hostname: " + "a" * 65 + "}",
        [
            "f:1:19: guest.hostname: expected at most 64 bytes, found '" + "a" * 65 + "'",
        ],
    ),
    "a variable that is none": (
        "guest: {environment: {A=B: c}}",
        [
            "f:1:28: guest.environment.A=B: not a variable: 'A=B' (expected a name without '=')",
        ],
    ),
    "a user with an impossible name": (
        "guest: {users: {'a:b': {}, c: {home: '/h:i', comment: \"d\\ne\", uid: 4294967295}}}",
        [
            "f:1:24: guest.users.a:b: not a user's name: 'a:b'",
            "f:1:38: guest.users.c.home: cannot contain ':', which separates fields in /etc/passwd",
            "f:1:55: guest.users.c.comment: expected one line, found 'd\\ne'",
            "f:1:68: guest.users.c.uid: expected from 0 to 4294967294, found 4294967295",
        ],
    ),
    "an owner of a guest whose users are made up": (
        "guest: {files: {/a: {text: '', owner: alice}, /b: {text: '', owner: '4294967295'}}}",
        [
            "f:1:39: guest.files./a.owner: there is no user 'alice'",
            "f:1:69: guest.files./b.owner: expected at most 4294967294, found 4294967295",
        ],
    ),
    "a path that cannot be one": (
        'guest: {files: {"/a\\0b": x, /: y, /' + "a" * 256 + ": z}}",
        [
            "f:1:26: guest.files./a\\x00b: a path cannot contain NUL: '/a\\x00b'",
            "f:1:32: guest.files./: the root is there already (name what is in it)",
            f"f:1:294: guest.files./{'a' * 256}: expected names of at most 255 bytes, found '{'a' * 99}...",
        ],
    ),
    "an entry that is no name": (
        "guest: {files: {/a: {entries: {b/c: d, ..: e}}}}",
        [
            "f:1:37: guest.files./a.entries.b/c: not a name: 'b/c' (expected one without '/')",
            "f:1:44: guest.files./a.entries...: not a name: '..' (expected one without '/')",
        ],
    ),
    "a link to nothing": (
        "guest: {files: {/a: {symlink: ''}}}",
        [
            "f:1:31: guest.files./a.symlink: not a path: ''",
        ],
    ),
    "more memory than can be": (
        "guest: {memory: 9TiB}",
        [
            "f:1:17: guest.memory: expected at most 8TiB in blocks of 128MiB (give a block_size)",
        ],
    ),
    "an interface that cannot be counted that far": (
        "guest: {nics: [{name: 'e{i}', mac: '52:54:00:00:00:{i:02x}', addresses: ['192.0.2.{i}/24'], count: 300}]}",
        [
            (
                "f:1:36: guest.nics[0].mac: not a MAC address: '52:54:00:00:00:100', of the "
                "interface 256 (expected six hex pairs)"
            ),
            (
                "f:1:74: guest.nics[0].addresses[0]: not an address: '192.0.2.256/24', of the "
                "interface 256 (expected one as in 192.0.2.7/24 or fe80::1/64)"
            ),
        ],
    ),
    "an interface's name twice, counted": (
        "guest: {nics: [{name: e1}, {name: 'e{i}', count: 2}]}",
        [
            "f:1:35: guest.nics[1].name: the name 'e1' twice (first in entry 0)",
        ],
    ),
    "an address twice, counted": (
        "guest: {nics: [{name: 'e{i}', addresses: ['192.0.2.{i}/24'], count: 9}, {name: a, addresses: [192.0.2.7/24]}]}",
        [
            "f:1:95: guest.nics[1].addresses[0]: e7 has 192.0.2.7 already",
        ],
    ),
    "a gateway that is none": (
        "guest: {nics: [{name: e, gateways: [192.0.2.1/24]}]}",
        [
            (
                "f:1:37: guest.nics[0].gateways[0]: not an address: '192.0.2.1/24' (expected "
                "one as in 192.0.2.1 or fe80::1)"
            ),
        ],
    ),
    "counters that count down": (
        "guest: {nics: [{name: e, counters: {rx_bytes: -1}, growth: {tx_bytes: 18446744073709551616}}]}",
        [
            (
                "f:1:47: guest.nics[0].counters.rx_bytes: expected from 0 to "
                "18446744073709551615, found -1"
            ),
            (
                "f:1:71: guest.nics[0].growth.tx_bytes: expected from 0 to "
                "18446744073709551615, found 18446744073709551616"
            ),
        ],
    ),
    "a device that is none": (
        "guest: {disks: [{name: /dev/vda, minor: -1, partitions: [{name: ''}]}]}",
        [
            (
                "f:1:24: guest.disks[0].name: not the name of a device: '/dev/vda' (expected "
                "one as in vda or vda1)"
            ),
            "f:1:41: guest.disks[0].minor: expected from 0 to 1048575, found -1",
            (
                "f:1:65: guest.disks[0].partitions[0].name: not the name of a device: '' "
                "(expected one as in vda or vda1)"
            ),
        ],
    ),
    "a partition called as another": (
        "guest: {disks: [{name: vda, partitions: [{name: vda1}, {name: vda1}]}]}",
        [
            "f:1:63: guest.disks[0].partitions[1].name: the name 'vda1' twice",
        ],
    ),
    "a root that is another's directory": (
        "guest: {mounts: [{device: rootfs, path: /, bind: /a}]}",
        [
            "f:1:50: guest.mounts[0].bind: expected a file system of its own at /",
        ],
    ),
    "no processors in a list": (
        "guest: {vcpus: []}",
        [
            "f:1:16: guest.vcpus: expected from 1 to 8192, found 0",
        ],
    ),
    "an exit code that is none": (
        "guest: {programs: [{path: /a, exit_code: 256}]}",
        [
            "f:1:42: guest.programs[0].exit_code: expected from 0 to 255, found 256",
        ],
    ),
    "a release that never was": (
        "agent: {release: 8.3}",
        [
            (
                "f:1:18: agent.release: no such release: '8.3' (expected one from 2.5 to 11.1, "
                "as in 7.2 or 7.2.22)"
            ),
        ],
    ),
    "an argument that there is not": (
        "replies: [{on: {command: guest-exec, arguments: {path: ls, args: [a]}}, reply: 1}]",
        [
            (
                "f:1:66: replies[0].on.arguments.args: guest-exec has no argument 'args' (did "
                "you mean 'arg'?)"
            ),
        ],
    ),
    "an answer that JSON cannot say": (
        "replies: [{on: guest-ping, reply: {a: [.inf]}}]",
        [
            "f:1:40: replies[0].reply.a[0]: JSON has no inf (write the bytes with raw)",
        ],
    ),
    "a machine that there cannot be": (
        (
            "machine: {uuid: x, port: 1a, chardev: a b, firmware_resets: 11, memory_slots: 257, max_vcpus: 256, "
            "dimms: [{id: d, size: 0}, {id: d, size: 1}]}"
        ),
        [
            "f:1:17: machine.uuid: expected a UUID, as in 6a1f3c5e-1111-4222-8333-444455556666, found 'x'",
            "f:1:26: machine.port: expected an id (a letter, then letters, digits, '-._'), found '1a'",
            "f:1:39: machine.chardev: expected an id (a letter, then letters, digits, '-._'), found 'a b'",
            "f:1:61: machine.firmware_resets: expected 0 to 10, found 11",
            "f:1:79: machine.memory_slots: expected 0 to 256, found 257",
            "f:1:95: machine.max_vcpus: expected 2 (the guest's processors) to 255, found 256",
            "f:1:122: machine.dimms[0].size: expected more than 0 bytes",
            "f:1:131: machine.dimms[1].id: there is a module 'd' already",
        ],
    ),
    "an event that brings what is wrong": (
        "timeline: [{do: file_changes, path: a, file: {text: b, owner: c}, at: 1s}, {do: nic_appears, nic: {name: e, mac: f}, at: 1s}, {do: addresses, nic: e, add: [g], at: 1s}]",
        [
            "f:1:37: timeline[0].path: expected an absolute path, found 'a'",
            "f:1:63: timeline[0].file.owner: there is no user 'c'",
            "f:1:114: timeline[1].nic.mac: not a MAC address: 'f' (expected six hex pairs)",
            (
                "f:1:157: timeline[2].add[0]: not an address: 'g' (expected one as in "
                "192.0.2.7/24 or fe80::1/64)"
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_all_that_is_wrong_is_said_with_its_place(name: str) -> None:
    text, expected = WRONG[name]
    with pytest.raises(ScenarioError) as caught:
        loads(text, "f")
    assert str(caught.value).splitlines() == expected


def test_what_a_guest_cannot_be_made_with_is_said_with_its_place() -> None:
    scenario = loads("guest: {files: {/a: b, /a/c: d}}", "f")
    with pytest.raises(ScenarioError) as caught:
        scenario.build()
    assert str(caught.value) == "f:1:30: guest.files./a/c: Not a directory: '/a/c'"


def test_a_hundred_faults_are_enough() -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(f"agent: {{block_rpcs: [{', '.join(['{}'] * 250)}]}}", "f")
    lines = str(caught.value).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "f: and 150 more"
