"""``qgasim-ga``: stands in for qemu-ga where a test spawns it as a program.

It takes qemu-ga's command line and serves a simulated guest: that of ``QGASIM_SCENARIO`` with the
release of ``QGASIM_AGENT``. It behaves as qga/main.c does, with the texts of 7.2.22.
"""

import gc
import os
import signal
import sys

from qgasim.dialect import Dialect, find_dialect
from qgasim.errors import QgaSimError
from qgasim.standin.activation import NotOpen, find_method
from qgasim.standin.config import (
    Config,
    Done,
    Refused,
    WrongOption,
    read_config,
    set_default_path,
)
from qgasim.standin.log import Log

__all__ = ["main"]


def main() -> int:
    """Run as qemu-ga; return the exit status."""
    log = Log()
    # Until the agent runs: see `settle_memory`.
    gc.disable()
    # Until a handler is installed, signals end it without a message, as any program in C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        dialect = _dialect()
        config = _configure(dialect, log)
        from qgasim.standin.start import start

        return start(config, dialect, log)
    except Done as done:
        os.write(1, os.fsencode(str(done)))
        return 0
    except WrongOption:
        sys.stdout.write(f"Unknown option, try '{sys.argv[0]} --help' for more information.\n")
        return 1
    except NotOpen as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (Refused, QgaSimError) as error:
        log("critical", str(error))
        return 1


def _dialect() -> Dialect:
    release, scenario = os.environ.get("QGASIM_AGENT"), os.environ.get("QGASIM_SCENARIO")
    dialect = find_dialect(release or "7.2") if release or not scenario else None
    if dialect is None:
        # The scenario knows its release, or knows how to refuse this one.
        from qgasim.standin.guest import plan

        dialect = plan().dialect
    return dialect


def _configure(dialect: Dialect, log: Log) -> Config:
    def commands() -> list[str]:
        from qgasim.commands import ALL_COMMANDS
        from qgasim.qapi.registry import compile_table

        return list(compile_table(ALL_COMMANDS, dialect, "linux"))

    conf = os.environ.get("QGA_CONF")
    config = read_config(sys.argv, conf, dialect, commands, log)
    method = find_method(os.environ)
    if method is None:
        set_default_path(config)
    else:
        config.texts["method"] = method
        config.texts.pop("path", None)
    if config.dumps:
        raise Done(config.dump(dialect))
    return config
