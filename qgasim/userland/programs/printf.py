"""``echo`` and ``printf`` as programs; the shells have their own (`qgasim.userland.shell.printf`)."""

import re
from types import MappingProxyType
from typing import Final

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import missing_operand
from qgasim.userland.programs.messages import complain, pick, quote_text
from qgasim.userland.programs.registry import program
from qgasim.userland.shell import printf
from qgasim.userland.shell.printf import ASH, ZERO_OCTAL, Rules, escapes

__all__: list[str] = []


#: coreutils 9.1's.
COREUTILS: Final = Rules(
    # What it does not know is written with its backslash, even a percent sign.
    escapes=escapes(rb"[0-7]{1,3}", letters=rb"abefnrtv\\\"", has_unicode=True, cuts=True)
    + rb"|\\.",
    argument_escapes=re.compile(
        escapes(ZERO_OCTAL, letters=rb"abefnrtv\\\"", has_unicode=True, cuts=True)
    ),
    echo_escapes=re.compile(escapes(ZERO_OCTAL, letters=rb"abefnrtv\\", cuts=True)),
    flags=rb"[#'I\-+ 0]*",
    refused="aAq",
    bad_directive="{}: invalid conversion specification",
    no_number="'{}': expected a numeric value",
    partial_number="'{}': value not completely converted",
    out_of_range="'{}': Numerical result out of range",
    excess="warning: ignoring excess arguments, starting with '{}'",
    bad_flags=MappingProxyType({"'": "aAceEosxX", "#": "cdisu", "0": "cs", ".": "c"}),
    has_plain_b=True,
    takes_empty=True,
    no_hex="missing hexadecimal number in escape",
    must_have_digits=True,
    cut_status=0,
    bad_width="invalid {what}: '{}'",
    quote=lambda text: quote_text(text)[1:-1],
    excess_characters="warning: {}: character(s) following character constant have been ignored",
)


@program("echo")
def echo(p: Process) -> Steps:
    """Print the arguments."""
    yield from p.write(1, printf.echo(p.argv[1:], pick(p, ASH, COREUTILS)))
    return 0


@program("printf")
def run_printf(p: Process) -> Steps:
    """Print the arguments in a format."""
    arguments = p.argv[2:] if p.argv[1:2] == ["--"] else p.argv[1:]
    if not arguments:
        yield from missing_operand(p)
    output, errors, status = printf.format_printf(arguments, pick(p, ASH, COREUTILS))
    done = 0
    for error in errors:
        yield from p.write(1, output[done : error.at])
        done = error.at
        yield from complain(p, error.text)
    yield from p.write(1, output[done:])
    return status
