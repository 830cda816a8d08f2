"""The settings of qemu-ga: its command line over its config file over its defaults."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from msgspec import Struct, field

from qgasim.dialect import BLOCKED_AND_ALLOWED, Dialect
from qgasim.standin import keyfile
from qgasim.standin.getopt import WRONG, Option, read_options
from qgasim.standin.log import Log
from qgasim.standin.usage import usage

__all__ = [
    "PORT_METHODS",
    "Config",
    "Done",
    "Refused",
    "WrongOption",
    "read_config",
    "set_default_path",
]

T = TypeVar("T")
#: The methods that serve a port, and its default path.
PORT_METHODS: Final = {
    "virtio-serial": "/dev/virtio-ports/org.qemu.guest_agent.0",
    "isa-serial": "/dev/ttyS0",
}
_HOOK: Final = "/etc/qemu/fsfreeze-hook"
_TEXTS: Final = ("method", "path", "logfile", "pidfile", "fsfreeze-hook", "statedir")
_FLAGS: Final[tuple[str, ...]] = ("daemon", "verbose", "retry-path")
#: In the order in which a config file's are read.
_KEYS: Final = ("daemon", *_TEXTS, "verbose", "retry-path")
_BOTH_KEYS: Final = (
    "wrong config, using 'block-rpcs' and 'allow-rpcs' keys at the same time is not allowed"
)

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
    """A text to print, before the end with exit status 0."""


class Refused(Exception):
    """A critical message, before the end with exit status 1."""


class WrongOption(Exception):
    """An option is wrong; getopt has said how."""


class Config(Struct):
    """The settings of qemu-ga."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    flags: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(_FLAGS, False))
    #: In the order in which the real one keeps them.
    blocked: list[str] = field(default_factory=list[str])
    allowed: list[str] = field(default_factory=list[str])
    dumps: bool = False

    def dump(self, dialect: Dialect) -> str:
        """Return what ``--dump-conf`` prints."""
        values: dict[str, str | bool] = {"daemon": self.flags["daemon"]}
        values |= {key: self.texts[key] for key in _TEXTS if key in self.texts}
        values |= {key: self.flags[key] for key in ("verbose", "retry-path")}
        values[dialect.block_key] = ",".join(self.blocked)
        if dialect.takes_allow_rpcs:
            values["allow-rpcs"] = ",".join(self.allowed)
        return keyfile.dump("general", values)


def _options(dialect: Dialect) -> list[Option]:
    """Return the options of a release."""
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
        # Windows' --service: taken, and nothing done (the letters are the same everywhere).
        Option("s", (), "argument"),
    ]
    if dialect.takes_allow_rpcs:
        options.append(Option("a", ("allow-rpcs",), "argument"))
    if dialect.takes_config_path:
        options.append(Option("c", ("config",), "argument"))
    return options


def _split(text: str) -> list[str]:
    # glib's g_strsplit gives nothing for nothing; qemu-ga puts each name before the last.
    return text.split(",")[::-1] if text else []


class _Values:
    """The values of a config file; the first error is kept until all have been read."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self.error: keyfile.KeyFileError | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, read: Callable[[str, str], T], default: T) -> T:
        """Return a value, or *default*."""
        if key not in self._values:
            return default
        try:
            return read(key, self._values[key])
        except keyfile.KeyFileError as error:
            self.error = self.error or error
            return default

    def get_list(self, key: str) -> list[str]:
        """Return a list, empty by default."""
        return _split(self.get(key, keyfile.as_text, ""))


def _load(config: Config, path: str, dialect: Dialect, log: Log, *, is_required: bool) -> None:
    """Read a config file; unknown keys are ignored."""
    failed = f"error loading configuration from path: {path}, "
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            values = _Values(keyfile.parse(file.read(1 << 20)).get("general", {}))
    except FileNotFoundError as error:
        if not is_required:
            return
        raise Refused(f"{failed}{error.strerror}") from None
    except IsADirectoryError:
        raise Refused(f"{failed}Not a regular file") from None
    except OSError as error:
        raise Refused(f"{failed}{error.strerror}") from None
    except keyfile.KeyFileError as error:
        raise Refused(f"{failed}{error}") from None
    for key in _KEYS:
        if key in _FLAGS:
            config.flags[key] = values.get(key, keyfile.as_boolean, default=False)
        elif key in values:
            config.texts[key] = values.get(key, keyfile.as_text, "")
    _load_lists(config, values, dialect, log)
    if values.error is not None:
        raise Refused(f"{failed}{values.error}")


def _load_lists(config: Config, values: _Values, dialect: Dialect, log: Log) -> None:
    key = dialect.block_key
    if dialect.takes_blacklist and key != "blacklist" and "blacklist" in values:
        log(
            "warning",
            "config using deprecated 'blacklist' key, should be replaced with the 'block-rpcs' key.",
        )
        key = "blacklist"
    config.blocked += values.get_list(key)
    if dialect.takes_allow_rpcs and "allow-rpcs" in values:
        if key in values and not dialect.takes_block_with_allow:
            raise Refused(_BOTH_KEYS)
        config.allowed += values.get_list("allow-rpcs")


def read_config(
    argv: Sequence[str],
    conf: str | None,
    dialect: Dialect,
    commands: Callable[[], list[str]],
    log: Log,
) -> Config:
    """Read the command line, and the config file before it; return what both say.

    Args:
        argv: the program, as it was called, and its arguments.
        conf: QGA_CONF. The real default, /etc/qemu/qemu-ga.conf, is not read: that is the machine's
            own agent's, if it has one.
        dialect: the release.
        commands: returns what ``--block-rpcs help`` lists.
        log: for warnings about deprecated keys.

    Raises:
        Done: there was only something to print.
        Refused: the agent cannot be started with these settings.
        WrongOption: getopt refused an option, and has said why.
    """
    program, arguments = argv[0], argv[1:]
    config = Config()
    options = _options(dialect)
    path, is_required = conf, False
    if dialect.takes_config_path:
        # Read once for the config file, and once more (qga/main.c of 9.1): errors are reported twice.
        for letter, value in read_options(arguments, options):
            if letter == WRONG:
                _complain(program, value)
            elif letter == "c":
                path, is_required = value, True
    if path is not None:
        _load(config, path, dialect, log, is_required=is_required)
    given = read_options(arguments, options)
    _take_options(config, given, program=program, dialect=dialect, commands=commands)
    config.texts.setdefault("pidfile", "/var/run/qemu-ga.pid")
    config.texts.setdefault("statedir", "/var/run")
    config.texts.setdefault("method", "virtio-serial")
    return config


def _take_options(
    config: Config,
    given: Iterable[tuple[str, str | None]],
    *,
    program: str,
    dialect: Dialect,
    commands: Callable[[], list[str]],
) -> None:
    """Put what the command line says over what the config file said."""
    uses = set[str]()
    for letter, value in given:
        if letter == WRONG:
            _complain(program, value)
            raise WrongOption
        if letter == "h":
            raise Done(usage(program, dialect))
        if letter == "V":
            raise Done(f"QEMU Guest Agent {dialect.full_version}\n")
        if letter in "ab":
            if value in ("help", "?"):
                raise Done("".join(f"{name}\n" for name in commands()))
            uses.add(letter)
        _take_option(config, letter, value)
    if len(uses) > 1 and not dialect.takes_block_with_allow:
        raise Refused(BLOCKED_AND_ALLOWED)


def _take_option(config: Config, letter: str, value: str | None) -> None:
    if letter in "ab":
        (config.allowed if letter == "a" else config.blocked).extend(_split(value or ""))
    elif letter == "D":
        config.dumps = True
    elif letter == "F":
        config.texts["fsfreeze-hook"] = _HOOK if value is None else value
    elif letter in "dvr":
        config.flags[_LETTERS[letter]] = True
    elif letter in _LETTERS:
        config.texts[_LETTERS[letter]] = value or ""


def _complain(program: str, text: str | None) -> None:
    sys.stderr.write(f"{program}: {text}\n")


def set_default_path(config: Config) -> None:
    """Set the default path of the method, if none was given; raise Refused if it has none."""
    if "path" not in config.texts:
        path = PORT_METHODS.get(config.texts["method"])
        if path is None:
            raise Refused("must specify a path for this channel")
        config.texts["path"] = path
