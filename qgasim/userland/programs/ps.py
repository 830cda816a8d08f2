"""The program ps."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import is_known, not_simulated
from qgasim.userland.programs.messages import fail, is_busybox, pick
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.timestamps import format_time, local_zone
from qgasim.userland.programs.user_names import user_name

__all__: list[str] = []

Show: TypeAlias = Callable[[Process], str] | str
#: A column: its title, its width (negative: to the left; 0: as it comes), and what it shows.
Column: TypeAlias = tuple[str, int, Show]


def _seconds(process: Process) -> int:
    return (process.guest.clock.uptime() - process.started) // SECOND


def _elapsed(process: Process) -> str:
    minutes, seconds = divmod(_seconds(process), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02}:{seconds:02}"
    if hours:
        text = f"{hours % 24:02}:{text}"
    return f"{hours // 24}-{text}" if hours >= 24 else text


def _started(process: Process, form: str) -> str:
    clock = process.guest.clock
    when = clock.now() - clock.uptime() + process.started
    return format_time(when, local_zone(process), form)


def _state(process: Process) -> str:
    if process.is_stopped:
        return "T"
    return "S" if process.blocked is not None else "R"


def _started_long(process: Process) -> str:
    return _started(process, "%a %b %e %T %Y")


#: Columns by name; what the guest's processes have no figure for is nought.
COLUMNS: Final[dict[str, Column]] = {
    "pid": ("PID", 7, lambda q: str(q.pid)),
    "ppid": ("PPID", 7, lambda q: str(q.parent)),
    "pgid": ("PGID", 7, lambda q: str(q.pid)),
    "user": ("USER", -8, lambda q: user_name(q, 0) or "0"),
    "uid": ("UID", 5, "0"),
    "tty": ("TT", -8, "?"),
    "time": ("TIME", 8, "00:00:00"),
    "etime": ("ELAPSED", 11, _elapsed),
    "etimes": ("ELAPSED", 7, lambda q: str(_seconds(q))),
    "lstart": ("STARTED", 24, _started_long),
    "stime": ("STIME", 5, lambda q: _started(q, "%H:%M")),
    "stat": ("STAT", -4, _state),
    "s": ("S", -1, _state),
    "vsz": ("VSZ", 6, "0"),
    "rss": ("RSS", 5, "0"),
    "pcpu": ("%CPU", 4, "0.0"),
    "pmem": ("%MEM", 4, "0.0"),
    "ni": ("NI", 3, "0"),
    "c": ("C", 2, "0"),
    "comm": ("COMMAND", -15, lambda q: q.name),
    "args": ("COMMAND", 0, lambda q: " ".join(q.argv)),
}
ALIASES: Final = {
    "cmd": "args", "command": "args", "ucmd": "comm", "tname": "tty", "tt": "tty",
    "state": "s", "%cpu": "pcpu", "%mem": "pmem", "vsize": "vsz", "euser": "user",
    "start": "stime", "start_time": "stime", "cputime": "time", "euid": "uid",
}  # fmt: skip
#: BusyBox's columns that are not as procps's.
BUSYBOX_COLUMNS: Final = {
    "pid": ("PID", 5), "ppid": ("PPID", 5), "user": ("USER", -8), "time": ("TIME", 5),
    "comm": ("COMMAND", -16),
}  # fmt: skip
#: Formats of procps: columns, with titles of their own.
PLAIN: Final = "pid tty=TTY time comm=CMD"
FULL: Final = "user=UID pid ppid c stime tty=TTY time args=CMD"
BSD: Final = "pid tty=TTY stat time6=TIME args=COMMAND"
AUX: Final = "user pid pcpu pmem vsz rss tty=TTY stat stime=START time6=TIME args"


#: Columns that procps's knows besides (ps L, procps 4.0.2).
_KNOWN_COLUMNS: Final = frozenset(
    {
        *[
            "ag_id",
            "ag_nice",
            "atime",
            "blocked",
            "bsdstart",
            "bsdtime",
            "caught",
            "cgname",
            "cgroup",
            "cgroupns",
            "class",
            "cls",
            "context",
            "cp",
            "cpuid",
            "cputimes",
            "cuc",
            "cuu",
            "drs",
            "dsiz",
            "egid",
            "egroup",
            "eip",
            "esp",
            "exe",
            "f",
            "fgid",
            "fgroup",
            "flag",
            "flags",
            "fname",
            "fsgid",
            "fsgroup",
            "fsuid",
            "fsuser",
            "fuid",
            "fuser",
            "gid",
            "group",
            "ignored",
            "intpri",
            "ipcns",
            "label",
            "lastcpu",
            "lim",
            "longtname",
            "lsession",
            "luid",
            "lwp",
            "lxc",
            "m_drs",
            "m_size",
            "m_trs",
            "machine",
            "maj_flt",
            "majflt",
            "min_flt",
            "minflt",
            "mntns",
            "netns",
            "nice",
            "nlwp",
            "numa",
            "oom",
            "oomadj",
            "opri",
            "ouid",
            "pagein",
            "pending",
            "pgrp",
            "pidns",
            "policy",
            "pri",
            "pri_api",
            "pri_bar",
            "pri_baz",
            "pri_foo",
            "priority",
            "psr",
            "pss",
            "rbytes",
            "rchars",
            "rgid",
            "rgroup",
            "rops",
            "rssize",
            "rsz",
            "rtprio",
            "ruid",
            "ruser",
            "sched",
            "seat",
            "sess",
            "session",
            "sgi_p",
            "sgi_rss",
            "sgid",
            "sgroup",
            "sid",
            "sig",
            "sig_block",
            "sig_catch",
            "sig_ignore",
            "sig_pend",
            "sigcatch",
            "sigignore",
            "sigmask",
            "size",
            "slice",
            "spid",
            "stackp",
            "start_stack",
            "suid",
            "supgid",
            "supgrp",
            "suser",
            "svgid",
            "svgroup",
            "svuid",
            "svuser",
            "sz",
            "tgid",
            "thcount",
            "tid",
            "timens",
            "times",
            "tpgid",
            "trs",
            "trss",
            "tsig",
            "tsiz",
            "ucomm",
            "uid_hack",
            "unit",
            "userns",
            "uss",
            "util",
            "utsns",
            "uunit",
            "wbytes",
            "wcbytes",
            "wchan",
            "wchars",
            "wname",
            "wops",
            "zone",
        ]
    }
)


class _Request:
    """What the arguments ask for."""

    def __init__(self, knows: Callable[[str], bool], *, is_busybox: bool) -> None:
        #: Whether the real program has an option.
        self.knows = knows
        self.is_busybox = is_busybox
        self.format = ""
        self.is_full = False
        self.is_bsd = False
        self.names: list[str] = []
        self.pids: list[int] = []
        self.parents: list[int] = []
        self.has_header = True
        self.bad = ""
        #: An option that changes what procps shows, and is not simulated.
        self.missing = ""

    def read(self, arguments: list[str]) -> None:
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            letters = word.lstrip("-")
            if word.startswith("--"):
                self._read_long(letters, rest)
            elif letters.isdecimal():
                self.pids.append(to_int(letters))
            else:
                self._read_letters(letters, rest, has_dash=word.startswith("-"))

    def _read_long(self, name: str, rest: list[str]) -> None:
        name, equals, value = name.partition("=")
        takes = {"pid": "p", "ppid": "P", "format": "o"}.get(name)
        if name in ("no-headers", "no-heading", "noheaders"):
            self.has_header = False
        elif takes and (equals or rest):
            self._take(takes, value if equals else rest.pop(0))
        elif self.knows(f"--{name}"):
            self.missing = f"--{name}"
        else:
            self.bad = name

    def _read_letters(self, letters: str, rest: list[str], *, has_dash: bool) -> None:
        for at, letter in enumerate(letters):
            takes_value = letter in ("opCtuUq" if has_dash else "opU")
            if takes_value:
                value = letters[at + 1 :] or (rest.pop(0) if rest else "")
                self._take(letter, value)
                return
            if letter == "f" and has_dash:
                self.is_full = True
            elif letter == "u":
                self.is_bsd, self.is_full = True, True
            elif letter in "ax" and not has_dash:
                self.is_bsd = True
            elif letter == "h" and not has_dash:
                self.has_header = False
            elif letter in ("aAewx" if has_dash else "aefwxgc"):
                pass
            elif self.knows(f"-{letter}") if has_dash else letter in "lLTjrmMZSsvX":
                self.missing = f"-{letter}" if has_dash else letter
            else:
                self.bad = letter

    def _take(self, letter: str, value: str) -> None:
        words = re.split(r"[, ]+", value)
        if letter == "o":
            # A title is all that follows in POSIX and BusyBox; procps has titles up to a comma.
            whole = "=" in value and self.is_busybox
            self.format += f" {value}" if whole else " " + value.replace(",", " ")
        elif letter in "pq":
            self.pids += [to_int(word) for word in words if word.isdecimal()]
        elif letter == "P":
            self.parents += [to_int(word) for word in words if word.isdecimal()]
        elif letter == "C":
            self.names += words
        elif letter not in "uU" or set(words) - {"root", "0"}:
            # All processes are root's.
            self.missing = f"-{letter}"

    def default(self) -> str:
        if self.is_bsd:
            return AUX if self.is_full else BSD
        return FULL if self.is_full else PLAIN

    def wants(self, process: Process) -> bool:
        if not self.names and not self.pids and not self.parents:
            return True
        return (
            process.pid in self.pids or process.name in self.names or process.parent in self.parents
        )


@program("ps")
def ps(p: Process) -> Steps:
    """List processes."""
    request = _Request(partial(is_known, p), is_busybox=is_busybox(p))
    request.read(p.argv[1:])
    if request.bad and not is_busybox(p):
        yield from p.write(2, "error: unsupported option (BSD syntax)\n\nUsage:\n ps [options]\n")
        return 1
    if request.missing and (not is_busybox(p) or is_known(p, request.missing)):
        yield from not_simulated(p, f"option '{request.missing}'")
    default = "pid user time args" if is_busybox(p) else request.default()
    columns: list[Column] = []
    for word in (request.format or default).split():
        name, equals, title = word.partition("=")
        key = name.rstrip("0123456789")
        known = COLUMNS.get(ALIASES.get(key, key))
        if known is None:
            if key in _KNOWN_COLUMNS and not is_busybox(p):
                yield from not_simulated(p, f"column '{name}'")
            gnu = f'unknown user-defined format specifier "{name}"'
            yield from fail(p, pick(p, f"bad -o argument '{name}'", gnu))
            return 1
        columns.append(_column(p, name, known, title if equals else None))
    shows = [show for _, _, show in columns]
    processes = [q for q in p.processes.live() if request.wants(q)]
    widths = [width for _, width, _ in columns]
    titles = [title for title, _, _ in columns]
    if request.has_header and any(titles):
        # BusyBox's titles are all to the left.
        yield from _write_row(p, titles, [-abs(w) for w in widths] if is_busybox(p) else widths)
    for process in processes:
        cells = [show if isinstance(show, str) else show(process) for show in shows]
        yield from _write_row(p, cells, widths)
    return int(not processes)


def _write_row(p: Process, cells: list[str], widths: list[int]) -> Waiting[None]:
    padded = map(_pad, cells, widths)
    return p.write(1, " ".join(padded).rstrip() + "\n")


def _column(p: Process, name: str, known: Column, title: str | None) -> Column:
    head, width, show = known
    if is_busybox(p) and name in BUSYBOX_COLUMNS:
        head, width = BUSYBOX_COLUMNS[name]
        if name == "time":
            show = "0:00"
    if name == "time6":
        # As BSD shows it: minutes and seconds.
        width, show = 6, "0:00"
    return (head if title is None else title), width, show


def _pad(text: str, width: int) -> str:
    return text.ljust(-width) if width < 0 else text.rjust(width)
