"""``qgasim shell``: a prompt for an agent's commands."""

import json
import re
import shlex
import sys
from contextlib import suppress
from typing import Any, Final, cast

from qgasim.cli.call import print_value, read_arguments
from qgasim.cli.execute import run_and_print
from qgasim.cli.parser import Parser, add_address, add_timeout
from qgasim.cli.text import complain, readable
from qgasim.client.blocking import SyncClient, unwrap
from qgasim.client.connecting import AgentAddress
from qgasim.errors import ClientError

__all__ = ["shell"]

PROMPT: Final = "qga> "
#: What stands before the value of an argument; of what is one JSON object, nothing.
_KEY: Final = re.compile(r"\s*((?=[^\s{])[^\s=]*=?|(?=\{))")
_WORD: Final = re.compile(r"(?:'[^']*'|\"[^\"]*\"|\S)*")
_HELP: Final = "a command [key=value ...], a request as JSON, or !PROGRAM [ARGUMENT ...]"


def shell(arguments: list[str]) -> int:
    """Ask what is typed, line by line; without a terminal, return 1 if a line failed."""
    parser = Parser(
        prog="qgasim shell",
        description="Send what you type to an agent, simulated or real: "
        f"{_HELP}, which runs a program in the guest as qgasim exec does. "
        "Tab completes commands; Ctrl-D ends. "
        "Without a terminal, lines are read from the standard input; the exit status is 1 if one failed.",
    )
    add_address(parser)
    add_timeout(parser)
    options = parser.parse_args(arguments)
    prompt = _Shell(options.address, options.timeout)
    is_interactive = sys.stdin is not None and sys.stdin.isatty()
    try:
        prompt.connect()
    except ClientError as error:
        complain(readable(str(error)), "qgasim shell: ")
        return 1
    if is_interactive:
        print(f"{prompt.introduce()} Type {_HELP}; Ctrl-D ends.")
        _set_up_completion(prompt)
    has_failed = False
    while (line := _read_line(is_interactive=is_interactive)) is not None:
        has_failed |= not prompt.do(line)
    prompt.close()
    return int(has_failed and not is_interactive)


def _read_line(*, is_interactive: bool) -> str | None:
    """Return the next line that says something; None at the end."""
    while True:
        try:
            if is_interactive:
                line = input(PROMPT)
            elif not (line := sys.stdin.readline() if sys.stdin is not None else ""):
                return None
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            if not is_interactive:
                raise
            print()
            continue
        if (line := line.strip()) and not line.startswith("#"):
            return line


class _Shell:
    """A connection that is made again when it was lost, and what is asked over it."""

    def __init__(self, address: AgentAddress, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._client: SyncClient | None = None
        #: The names of the commands, sorted.
        self.names: list[str] = []

    def connect(self) -> SyncClient:
        """Return the connection; raise ClientError if there is no agent to connect to."""
        if self._client is None:
            self._client = SyncClient(self._address, self._timeout)
        return self._client

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def introduce(self) -> str:
        """Return what agent this is; learn the names of its commands."""
        try:
            info: Any = self.connect().call("guest-info")
            commands = cast("list[dict[str, Any]]", info["supported_commands"])
            self.names = sorted(str(each["name"]) for each in commands if each["enabled"])
            version = readable(str(info["version"]))
        except (ClientError, LookupError, TypeError):
            return f"{self._address} (it does not say what it is)."
        return f"qemu-ga {version} at {self._address}, {len(self.names)} commands."

    def do(self, line: str) -> bool:
        """Do what a line says; return whether that succeeded."""
        try:
            if line.startswith("!"):
                return self._run(line[1:])
            reply = self.connect().request(_read_request(line))
        except ValueError as error:
            complain(readable(str(error)))
            return False
        except ClientError as error:
            # A reply that comes late would be taken for that of the next request.
            self.close()
            complain(readable(str(error)))
            return False
        except KeyboardInterrupt:
            self.close()
            print()
            return False
        try:
            print_value(unwrap(reply))
        except ClientError as error:
            complain(readable(str(error)))
            return False
        return True

    def _run(self, line: str) -> bool:
        words = shlex.split(line)
        if not words:
            raise ValueError("expected a program, as in !uname -r")
        status = run_and_print(self.connect(), words)
        if status:
            complain(f"(status {status})")
        return status == 0


def _read_request(line: str) -> dict[str, Any]:
    """Return the request that a line means; ValueError if it means none."""
    if line.startswith("{"):
        try:
            message: object = json.loads(line)
        except RecursionError:
            raise ValueError("not JSON: too many levels") from None
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        return cast("dict[str, Any]", message)
    command, _, rest = line.partition(" ")
    given = read_arguments(_split(rest))
    return {"execute": command, "arguments": given} if given else {"execute": command}


def _split(text: str) -> list[str]:
    """Split arguments at white space, but not within JSON or quotes."""
    words: list[str] = []
    position = 0
    while word := _KEY.match(text, position):
        end = position = word.end()
        with suppress(ValueError, RecursionError):
            _, end = json.JSONDecoder().raw_decode(text, position)
        if end > position and not text[end : end + 1].strip():
            words.append(word[1] + text[position:end])
        else:
            rest = _WORD.match(text, position)
            assert rest
            end = rest.end()
            words.append(word[1] + "".join(shlex.split(rest[0])))
        position = end
    return words


def _set_up_completion(prompt: _Shell) -> None:
    with suppress(ImportError):
        import readline

        def complete(text: str, number: int) -> str | None:
            found = [name for name in prompt.names if name.startswith(text)]
            return f"{found[number]} " if number < len(found) else None

        # Not at hyphens: a command is one word.
        readline.set_completer_delims(" ")
        readline.set_completer(complete)
        readline.parse_and_bind("tab: complete")
