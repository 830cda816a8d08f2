"""Programs about the machine: hostname, uname."""

from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import parse, usage_error
from qgasim.userland.programs.messages import fail, is_busybox, pick, quote_text
from qgasim.userland.programs.registry import program

__all__: list[str] = []

#: The kernel's __NEW_UTS_LEN.
HOST_NAME_MAX: Final = 64


@program("hostname")
def hostname(p: Process) -> Steps:
    """Print the host name, or set it."""
    long = {"short": "s", "fqdn": "f", "long": "f", "all-ip-addresses": "I"}
    options = yield from parse(p, "sfI", long)
    name = options.operands[0] if options.operands else None
    if name is not None:
        if len(name.encode("utf-8", "surrogateescape")) > HOST_NAME_MAX:
            text = pick(p, "sethostname: Invalid argument", "name too long")
            yield from fail(p, text)
        p.guest.hostname = name
        return 0
    text = p.guest.hostname
    if "s" in options:
        text = text.partition(".")[0]
    elif "I" in options:
        addresses = [a for nic in p.guest.nics if nic.name != "lo" for a, _ in nic.ipv4()]
        text = " ".join(addresses)
    yield from p.write(1, text + "\n")
    return 0


_UNAME_LONG: Final = {
    "all": "a", "kernel-name": "s", "sysname": "s", "nodename": "n", "kernel-release": "r",
    "release": "r", "kernel-version": "v", "machine": "m", "processor": "p",
    "hardware-platform": "i", "operating-system": "o",
}  # fmt: skip


@program("uname")
def uname(p: Process) -> Steps:
    """Print what the system calls itself."""
    options = yield from parse(p, "asnrvmpio", _UNAME_LONG)
    if options.operands:
        operand = quote_text(options.operands[0])
        yield from usage_error(p, "" if is_busybox(p) else f"extra operand {operand}")
    system = p.guest.settings.os
    texts = {
        "s": "Linux", "n": p.guest.hostname, "r": system.kernel_release,
        "v": system.kernel_version, "m": system.machine, "p": "unknown", "i": "unknown",
        "o": "GNU/Linux",
    }  # fmt: skip
    # With -a, what is unknown is left out.
    letters = [o for o in texts if o in options or ("a" in options and texts[o] != "unknown")]
    yield from p.write(1, " ".join(texts[o] for o in letters or ["s"]) + "\n")
    return 0
