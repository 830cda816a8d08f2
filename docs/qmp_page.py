"""docs/qmp.md: the machine's monitor, its states and its commands, made of the registry and the table of states."""

from qgasim.qmp.events import THROTTLED
from qgasim.qmp.monitor import OUTPUT_LIMIT
from qgasim.qmp.registry import COMMANDS
from qgasim.qmp.release import RELEASES
from qgasim.qmp.states import TRANSITIONS

__all__ = ["make_qmp_page"]

INTRODUCTION = """\
# The machine's monitor (QMP)

<!-- Made by docs/qmp_page.py (`make docs`) from qgasim/qmp/; do not edit. -->

Beside the agent's socket, a guest can have the monitor of the QEMU that runs it: `qgasim --qmp unix:/tmp/qmp.sock` serves
one (repeat it for more), and in tests a guest whose scenario has [`machine:`](scenario.md#machine) has one at `qga.qmp_path`.
Both show the same guest: `guest-suspend-ram` on one socket is `SUSPEND` on the other, `stop` on the other lets the agent
fall silent.

```yaml
# machine.yaml
qgasim: 1
machine:
  qemu: "10.0"
  name: web1
  on_shutdown: pause
```

Sources: recordings of QEMU 5.2, 7.2, 10.0 and 11.1 (`tests/golden/qmp/`), which the tests replay; a release is one of
these. `query-qmp-schema` and `query-commands` are theirs, and so is the order of events and replies. What is refused, and in
which words, was compared with QEMU 7.2.22 on some thousand machines without a guest (`make fuzz-monitor`).

- One client at a time; the next waits, and is greeted when the first has left. No event is sent before `qmp_capabilities`,
  and what happens while no client is connected is lost.
- Messages end in `\\r\\n`; those of the agent in `\\n`.
- The host's clock counts for the monitor, also while the guest's stands still: at most one event a second is sent of
  each kind of {throttled}.
- A client that reads nothing is kept {limit} MiB of replies and events; then nothing more is read from it, and it gets no
  more events. QEMU keeps all.
- Requests and events are in the journal, in one order with the agent's: `qga.verify("qmp:cont", after="qmp:stop")`.

[Findings](findings.md) tell what a client has done wrong as far as its requests show it. These mistakes do not show there;
run the client against the scenarios, and see whether it fails (`qgasim drill --tag qmp -- ...`):

- *An event taken for the reply*: the replies to all that follows are then one late for the client, which sees it only by what
  they hold. Its requests come in the same order, each after what it took for an answer. A careful client may send the next
  request before the reply to the last, too, also when an event comes: replies come in order, or are known by their `id`.
  `qmp-event-before-greeting` shows it.
- *RESET counted as one reboot* by a client that only counts: it is found where it asks for the next reboot.
  `qmp-resets-by-firmware` shows it.

What the guest does with what is plugged in takes guest time: a paused guest lets nothing go.
Nothing is transferred by a migration: the guest that comes is the one of the scenario. What backs disks is as it was recorded.

Arguments of all commands are read as the release's schema says, also those of commands that are not simulated: these
then fail with "qgasim does not simulate ...". In QEMU's tree of objects (QOM) are the devices that have an id or were plugged
in, processors, the objects of `object-add` and character devices; other parts of the machine are not.
A descriptor for `getfd` is not looked for.
"""


def make_qmp_page() -> str:
    """Return docs/qmp.md."""
    names = [f"`{name}`" for name in THROTTLED]
    throttled = f"{', '.join(names[:-1])} and {names[-1]}"
    parts = [
        INTRODUCTION.format(throttled=throttled, limit=OUTPUT_LIMIT >> 20),
        "## States",
        "",
        "What `query-status` says, and what leads from one state to another; *cont* in state *shutdown* is refused, and in the",
        "states that are not named for it, it does nothing. *stop* in state *suspended* does nothing before 10.0.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    direction LR",
        *(f"    {_id(a)} --> {_id(b)} : {cause}" for (a, cause), b in TRANSITIONS.items()),
        "```",
        "",
        "## Commands",
        "",
        "| command | 5.2 | 7.2 | 10.0 | 11.1 | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(COMMANDS):
        marks = ["yes" if name in release.commands else "" for release in RELEASES]
        text = (COMMANDS[name].function.__doc__ or "").split("\n\n")[0]
        parts.append(f"| `{name}` | {' | '.join(marks)} | {' '.join(text.split())} |")
    every = sorted({name for release in RELEASES for name in release.commands} - set(COMMANDS))
    parts += [
        "",
        "## Not simulated",
        "",
        "These are in the schema of one of the releases. They are refused by an error that begins with",
        "`qgasim does not simulate`, and a [finding](findings.md) tells of it. A command that a release has not is refused in",
        "QEMU's words.",
        "",
        ", ".join(f"`{name}`" for name in every),
        "",
    ]
    return "\n".join(parts)


def _id(state: str) -> str:
    return state.replace("-", "_")
