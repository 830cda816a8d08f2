"""The options with which a guest, or a fleet, is served."""

import argparse
from typing import TYPE_CHECKING, Final

from qgasim import DEFAULT_SCENARIO
from qgasim.cli.parser import Parser
from qgasim.cli.text import LOG_WIDTH, complain

if TYPE_CHECKING:
    from qgasim.http.access import Access
    from qgasim.scenario import Blueprint, Scenario

__all__ = [
    "control_access",
    "load_scenario",
    "make_blueprint",
    "serve_parser",
    "with_options",
]

_DESCRIPTION: Final = """\
Serve a simulated QEMU guest agent, on a unix socket by default,
until SIGINT (Ctrl-C) or SIGTERM."""
_EPILOG: Final = """\
commands (each has a --help):
  qgasim [serve] [OPTIONS]                            serve a guest: the options above
  qgasim call ADDRESS COMMAND [key=value ... | JSON]  ask an agent, simulated or real
  qgasim exec ADDRESS [--] PROGRAM [ARGUMENT ...]     run a program in its guest
  qgasim shell ADDRESS                                send an agent what you type
  qgasim ctl COMMAND [WORDS]                          control guests that are served with --control
  qgasim drill --all -- COMMAND {socket}              run a client against every bundled scenario
  qgasim replay FILE                                  answer from a recorded conversation
  qgasim compare ADDRESS                              show where a real agent and qgasim differ
  qgasim record ADDRESS -o FILE                       write a scenario that answers as a real agent does
  qgasim scenarios [--search WORD]                    list the bundled scenarios
  qgasim init [FILE]                                  write a scenario to start from
  qgasim check FILE...                                report every error in scenarios
  qgasim show FILE-or-NAME                            print a scenario in full
  qgasim schema                                       print the JSON Schema of scenarios
  qgasim completion bash|zsh|fish                     print a completion script for a shell
"""


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from qgasim import __version__

        print(f"qgasim {__version__}")
        parser.exit()


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def serve_parser(
    prog: str = "qgasim", description: str = _DESCRIPTION, epilog: str = _EPILOG
) -> Parser:
    """Return the parser of the options with which a guest is served."""
    parser = Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_guest_options(parser)
    _add_upstream_options(parser)
    _add_agent_options(parser)
    _add_machine_options(parser)
    _add_world_options(parser)
    _add_log_options(parser)
    _add_starter_options(parser)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    return parser


def _add_guest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        metavar="FILE-or-NAME",
        default=DEFAULT_SCENARIO,
        help=f"the guest to serve, or a fleet of guests; NAME#GUEST serves one guest of a fleet "
        f"(default: {DEFAULT_SCENARIO})",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change the scenario, as in guest.hostname=db1; the value is YAML (can be repeated)",
    )
    parser.add_argument(
        "--fault",
        metavar="FAULT",
        action="append",
        default=[],
        help="add a fault, as in '{kind: hang, on: guest-fsfreeze-thaw}' (can be repeated)",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="where to listen: unix:PATH, tcp:[HOST:]PORT, vsock:CID:PORT or stdio "
        "(default: the socket that systemd passed, else a unix socket in a new temporary directory); "
        "a fleet: unix:DIRECTORY",
    )


def _add_upstream_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--upstream",
        metavar="ADDRESS",
        help="forward requests to a real agent at PATH, unix:PATH, tcp:[HOST:]PORT or vsock:CID:PORT; only the "
        "scenario's faults and replies apply, no guest is simulated",
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="with --upstream: send harmless requests to a simulated agent, too, and show where its replies differ",
    )


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--qmp",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="where to listen for clients of the machine's monitor (QMP), as for --listen, but not stdio "
        "(can be repeated, for several monitors)",
    )
    parser.add_argument(
        "--qemu",
        metavar="RELEASE",
        choices=["5.2", "7.2", "10.0", "11.1"],
        help="release of QEMU: 5.2, 7.2, 10.0 or 11.1 (default: the scenario's)",
    )


def _add_agent_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agent",
        metavar="RELEASE",
        help="release of qemu-ga, as in 7.2, 7.2.22 or latest (default: the scenario's)",
    )
    parser.add_argument(
        "--channel",
        choices=["virtio-serial", "isa-serial", "unix-listen", "vsock-listen"],
        help="what lies between client and agent (default: the scenario's)",
    )
    parser.add_argument(
        "--block-rpcs",
        metavar="A,B",
        type=_names,
        help="commands for the agent to refuse (default: the scenario's)",
    )
    parser.add_argument(
        "--allow-rpcs",
        metavar="A,B",
        type=_names,
        help="the only commands for the agent to execute (default: the scenario's)",
    )
    parser.add_argument(
        "--fsfreeze-hook",
        metavar="PATH",
        help="the guest's script to run at freeze and thaw (default: the scenario's)",
    )


def _add_world_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--share",
        metavar="HOST_DIR=GUEST_DIR",
        action="append",
        default=[],
        help="share a folder of this machine with the guest, for reading and writing (can be repeated)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="seed of all generated values (default: the scenario's)",
    )


def _add_log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log", metavar="FILE", help="also append what happens to FILE (default: none)"
    )
    parser.add_argument(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="format of FILE: text, or a JSON object per line (default: text)",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help=f"show requests and replies in full, not just {LOG_WIDTH} bytes of each",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="do not show what happens; --log still writes it",
    )


def _add_starter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready-fd",
        metavar="N",
        type=int,
        help="write a line of JSON to this file descriptor when clients can connect",
    )
    parser.add_argument(
        "--control",
        metavar="ADDRESS",
        help="where to serve the control API: unix:PATH or tcp:[HOST:]PORT (port 0: a free one, "
        "which the ready line names)",
    )
    parser.add_argument(
        "--control-token",
        metavar="FILE",
        help="a file with the token that clients of the control API must send; needed if other machines can "
        "connect",
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when the process that started it ends"
    )


def load_scenario(options: argparse.Namespace) -> "Scenario":
    """Load the scenario of the command line, with the settings and faults that it says.

    Raises:
        ScenarioError: as of `load`.
    """
    from qgasim.scenario import load
    from qgasim.scenario.changes import add_fault, change_setting

    changes = [change_setting(text, "--set") for text in options.set]
    changes += [add_fault(text, "--fault") for text in options.fault]
    return load(options.scenario, changes=changes)


def with_options(scenario: "Scenario", options: argparse.Namespace) -> "Scenario":
    """Change *scenario* as the command line says; warn of names that are none; return it."""
    from qgasim.scenario import remember_place, warn_of_names

    settings = scenario.agent
    if options.agent is not None:
        settings.release = options.agent
        remember_place(scenario, "agent.release", "--agent")
    for name in ("channel", "block_rpcs", "allow_rpcs", "fsfreeze_hook"):
        if getattr(options, name) is not None:
            setattr(settings, name, getattr(options, name))
            remember_place(scenario, f"agent.{name}", f"--{name.replace('_', '-')}")
    if options.qemu is not None:
        from qgasim.qmp import MachineSettings

        scenario.machine = scenario.machine or MachineSettings()
        scenario.machine.qemu = options.qemu
    if options.seed is not None:
        scenario.seed = options.seed
    for line in warn_of_names(scenario):
        complain(line, "qgasim: ")
    return scenario


def make_blueprint(scenario: "Scenario", options: argparse.Namespace) -> "Blueprint":
    """Return what the guest is made of, as the command line says; with ``--upstream``, what stands before it.

    Raises:
        QgaSimError: it cannot be made, or there is no agent.
    """
    from qgasim.scenario import Blueprint

    scenario = with_options(scenario, options)
    if (make := getattr(options, "make_blueprint", None)) is not None:
        made: Blueprint = make(scenario, options)
        return made
    if options.upstream is None:
        return Blueprint(scenario)
    from qgasim.cli.upstream import make_front

    return make_front(scenario, options)


def control_access(parser: argparse.ArgumentParser, options: argparse.Namespace) -> "Access | None":
    """Return where the control API is served, and its access rules; None: it is not served.

    Raises:
        QgaSimError: the token cannot be read, or is missing where it is needed.
    """
    if options.control is None:
        if options.control_token is not None:
            parser.error("--control-token: has no effect without --control")
        return None
    from qgasim.http.access import Access, read_token
    from qgasim.serving.listen import TcpAddress, UnixAddress, parse_address

    try:
        address = parse_address(options.control)
    except ValueError:
        address = None
    if not isinstance(address, UnixAddress | TcpAddress):
        text = f"expected unix:PATH or tcp:[HOST:]PORT, found {options.control!r}"
        parser.error(f"--control: {text}")
    token = None if options.control_token is None else read_token(options.control_token)
    return Access(address, token)
