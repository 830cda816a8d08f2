"""``qgasim ctl``: control guests that are served with ``--control``."""

import os
from typing import Final

from qgasim.cli.ctl.api import Api, CtlError
from qgasim.cli.ctl.commands import COMMANDS, Call
from qgasim.cli.ctl.options import ctl_parser, no_options
from qgasim.cli.text import complain

__all__ = ["ctl"]

#: How much of a file with a token is read.
_TOKEN_SIZE: Final = 1 << 12


def ctl(arguments: list[str]) -> int:
    """Control guests: status 0, 1 if what was to be verified or waited for is not so, 2 after an error."""
    parser = ctl_parser()
    options = parser.parse_args(arguments, no_options())
    address = options.control or os.environ.get("QGASIM_CONTROL")
    if not address:
        parser.error(
            "the control API's address is missing (--control ADDRESS, or QGASIM_CONTROL in the environment)"
        )
    try:
        with Api(address, _token(options.token_file)) as api:
            return COMMANDS[options.command](Call(parser, options, api))
    except CtlError as error:
        complain(str(error).replace("\n", "; "), "qgasim ctl: ")
        return 2


def _token(path: str | None) -> str | None:
    if path is None:
        token = os.environ.get("QGASIM_CONTROL_TOKEN", "")
    else:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                token = file.read(_TOKEN_SIZE)
        except OSError as error:
            raise CtlError(f"--token-file {path}: {error.strerror}") from None
    token = token.strip()
    if not token.isprintable() or not token.isascii():
        raise CtlError("the token has characters that no token has")
    return token or None
