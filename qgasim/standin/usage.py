"""What ``--help`` prints."""

from qgasim.dialect import Dialect

__all__ = ["usage"]

_METHODS = """\
  -m, --method      how the host is reached: unix-listen, vsock-listen,
                    virtio-serial (the default) or isa-serial
  -p, --path        where: a socket's path; CID:PORT for vsock-listen; a device,
                    a pty or a FIFO for virtio-serial (the default is
                    /dev/virtio-ports/org.qemu.guest_agent.0) and isa-serial
                    (/dev/ttyS0)
  -r, --retry-path  open the path again, 5 seconds later, if it cannot be opened
                    or is lost
  -d, --daemonize   go on in the background
  -f, --pidfile     where the daemon's number is written
                    (/var/run/qemu-ga.pid)
  -t, --statedir    where the next handle's number and the marker of a frozen
                    guest are kept; an absolute path (/var/run)
  -l, --logfile     where to log (standard error)
  -v, --verbose     log debug messages, too
  -F, --fsfreeze-hook
                    run the guest's /etc/qemu/fsfreeze-hook at freeze and thaw;
                    another script of the guest is given as -F/PATH, without a
                    space; nothing of the host is run
"""
_BLOCK = """\
  -b, {name}  commands to refuse, separated by commas; "help" lists them all
"""
_ALLOW = """\
  -a, --allow-rpcs  commands not to refuse, if not all
"""
_CONFIG = """\
  -c, --config      config file (that of QGA_CONF; else none is read)
"""
_REST = """\
  -D, --dump-conf   print the configuration as a config file, and exit
  -V, --version     print the version, and exit
  -h, --help        print this, and exit

Environment:
  QGASIM_SCENARIO   the guest: a scenario's name or file (debian-12)
  QGASIM_AGENT      the release of qemu-ga (the scenario's)
  QGA_CONF          config file
  QGA_OS_RELEASE    file of the host that the guest has as /etc/os-release
  LISTEN_FDS, LISTEN_PID
                    a socket that systemd has opened

This is no qemu-ga: it stands in for one, and what it answers is simulated.
See qgasim's docs/stand-in.md.
"""


def usage(program: str, dialect: Dialect) -> str:
    """Explain the options that the release has."""
    head = f"Usage: {program} [-m <method> -p <path>] [<options>]\n"
    head += f"QEMU Guest Agent {dialect.full_version}, simulated by qgasim\n\n"
    name = "--block-rpcs" if dialect.block_key == "block-rpcs" else "--blacklist "
    parts = [
        _METHODS,
        _BLOCK.format(name=name),
        _ALLOW if dialect.takes_allow_rpcs else "",
        _CONFIG if dialect.takes_config_path else "",
        _REST,
    ]
    return head + "".join(parts)
