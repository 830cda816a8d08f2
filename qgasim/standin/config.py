"""How qemu-ga is told what to do: its command line over its config file over its defaults."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct, field

from qgasim.dialect import Dialect
from qgasim.standin import keyfile
from qgasim.standin.getopt import Option, WrongOption, read_options

__all__ = ["Config", "Done", "Refused", "read_config", "set_default_path"]

_METHOD_PATHS: Final = {
    "virtio-serial": "/dev/virtio-ports/org.qemu.guest_agent.0",
    "isa-serial": "/dev/ttyS0",
}
_HOOK: Final = "/etc/qemu/fsfreeze-hook"
_TEXTS: Final = ("method", "path", "logfile", "pidfile", "fsfreeze-hook", "statedir")
_FLAGS: Final[tuple[str, ...]] = ("daemon", "verbose", "retry-path")
_BOTH_KEYS: Final = (
    "wrong config, using 'block-rpcs' and 'allow-rpcs' keys at the same time is not allowed"
)
_BOTH_OPTIONS: Final = "using --block-rpcs and --allow-rpcs at the same time is not allowed"

_LETTERS: Final = {
    "m": "method",
    "p": "path",
    "l": "logfile",
    "f": "pidfile",
    "t": "statedir",
    "d": "daemon",
    "v": "verbose",
    "r": "retry-path",
}


class Done(Exception):
    """There is nothing to do but to print this, and to end well."""


class Refused(Exception):
    """A critical message, and the end with exit status 1."""


class Config(Struct):
    """What qemu-ga was told."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    flags: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(_FLAGS, False))
    #: In the order in which the real one keeps them.
    blocked: list[str] = field(default_factory=list[str])
    allowed: list[str] = field(default_factory=list[str])
    dumps: bool = False

    def dump(self, dialect: Dialect) -> str:
        """Write what ``--dump-conf`` writes."""
        values: dict[str, str | bool] = {"daemon": self.flags["daemon"]}
        values |= {key: self.texts[key] for key in _TEXTS if key in self.texts}
        values |= {key: self.flags[key] for key in ("verbose", "retry-path")}
        values[dialect.block_key] = ",".join(self.blocked)
        if dialect.takes_allow_rpcs:
            values["allow-rpcs"] = ",".join(self.allowed)
        return keyfile.dump("general", values)


def _options(dialect: Dialect) -> list[Option]:
    """Give the options of a release."""
    block = ("block-rpcs", "blacklist") if dialect.block_key == "block-rpcs" else ("blacklist",)
    options = [
        Option("h", ("help",)),
        Option("V", ("version",)),
        Option("D", ("dump-conf",)),
        Option("l", ("logfile",), "argument"),
        Option("f", ("pidfile",), "argument"),
        Option("F", ("fsfreeze-hook",), "maybe"),
        Option("v", ("verbose",)),
        Option("m", ("method",), "argument"),
        Option("p", ("path",), "argument"),
        Option("d", ("daemonize",)),
        Option("b", block if dialect.takes_blacklist else ("block-rpcs",), "argument"),
        Option("t", ("statedir",), "argument"),
        Option("r", ("retry-path",)),
    ]
    if dialect.takes_allow_rpcs:
        options.append(Option("a", ("allow-rpcs",), "argument"))
    if dialect.takes_config_path:
        options.append(Option("c", ("config",), "argument"))
    return options


def _split(text: str) -> list[str]:
    # glib's g_strsplit gives nothing for nothing; qemu-ga puts each name before the last.
    return text.split(",")[::-1] if text else []


def _load(config: Config, path: str, dialect: Dialect, *, is_required: bool) -> None:
    """Read a config file; keys that are not known are passed over."""
    try:
        with open(path, encoding="utf-8") as file:
            values = keyfile.parse(file.read(1 << 20)).get("general", {})
        flags = {key: keyfile.as_boolean(key, values[key]) for key in _FLAGS if key in values}
    except FileNotFoundError as error:
        if not is_required:
            return
        raise Refused(f"error loading configuration from path: {path}, {error.strerror}") from None
    except (OSError, UnicodeDecodeError, keyfile.KeyFileError) as error:
        text = getattr(error, "strerror", None) or error
        raise Refused(f"error loading configuration from path: {path}, {text}") from None
    config.flags.update(flags)
    config.texts |= {key: values[key] for key in _TEXTS if key in values}
    keys = ("blacklist", "block-rpcs") if dialect.takes_blacklist else ("block-rpcs",)
    for key in keys:
        if key in values and (key == "blacklist" or dialect.block_key == "block-rpcs"):
            config.blocked += _split(values[key])
    if dialect.takes_allow_rpcs and "allow-rpcs" in values:
        if config.blocked and not dialect.takes_block_with_allow:
            raise Refused(_BOTH_KEYS)
        config.allowed += _split(values["allow-rpcs"])


def read_config(
    program: str, arguments: Sequence[str], conf: str | None, dialect: Dialect, commands: list[str]
) -> Config:
    """Read the command line *arguments* of *program*, and the config file before.

    Args:
        program: as it was called.
        arguments: what it was given.
        conf: QGA_CONF. The real default, /etc/qemu/qemu-ga.conf, is not read: that is the machine's
            own agent's, if it has one.
        dialect: the release.
        commands: what ``--block-rpcs help`` lists.

    Raises:
        Done: there was only something to print.
        Refused: it cannot be started so.
        WrongOption: getopt refused an option.
    """
    config = Config()
    given = list(_read_gently(arguments, dialect))
    paths = [value for letter, value in given if letter == "c"]
    if paths and paths[-1] is not None:
        _load(config, paths[-1], dialect, is_required=True)
    elif conf is not None:
        _load(config, conf, dialect, is_required=False)
    uses = set[str]()
    for letter, value in read_options(arguments, _options(dialect)):
        if letter == "h":
            raise Done(_usage(program, dialect))
        if letter == "V":
            raise Done(f"QEMU Guest Agent {dialect.full_version}\n")
        if letter in "ab":
            if value in ("help", "?"):
                raise Done("".join(f"{name}\n" for name in commands))
            (config.allowed if letter == "a" else config.blocked).extend(_split(value or ""))
            uses.add(letter)
        elif letter == "D":
            config.dumps = True
        elif letter == "F":
            config.texts["fsfreeze-hook"] = value or _HOOK
        elif letter in "dvr":
            config.flags[_LETTERS[letter]] = True
        elif letter in _LETTERS:
            config.texts[_LETTERS[letter]] = value or ""
    if len(uses) > 1 and not dialect.takes_block_with_allow:
        raise Refused(_BOTH_OPTIONS)
    config.texts.setdefault("pidfile", "/var/run/qemu-ga.pid")
    config.texts.setdefault("statedir", "/var/run")
    config.texts.setdefault("method", "virtio-serial")
    return config


def _read_gently(arguments: Sequence[str], dialect: Dialect) -> list[tuple[str, str | None]]:
    """Give the options up to the first that is wrong, which is told when they are obeyed."""
    found: list[tuple[str, str | None]] = []
    with suppress(WrongOption):
        found.extend(read_options(arguments, _options(dialect)))
    return found


def set_default_path(config: Config) -> None:
    """Choose the path of a method that has a default."""
    if "path" not in config.texts:
        path = _METHOD_PATHS.get(config.texts["method"])
        if path is None:
            raise Refused("must specify a path for this channel")
        config.texts["path"] = path


def _usage(program: str, dialect: Dialect) -> str:
    name = os.path.basename(program)
    lines = [
        f"Usage: {name} [-m <method> -p <path>] [<options>]",
        f"QEMU Guest Agent {dialect.full_version}, as qgasim stands in for it",
        "",
    ]
    for option in _options(dialect):
        argument = {"nothing": "", "argument": " ARG", "maybe": "[ARG]"}[option.takes]
        lines.append(f"  -{option.letter}, --{option.names[0]}{argument}")
    return "\n".join([*lines, "", "What they mean: qgasim's docs/stand-in.md.", ""])
