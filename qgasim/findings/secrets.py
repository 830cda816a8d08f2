"""The finding about secrets that programs of the guest are given in clear."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from qgasim.errors import CommandError
from qgasim.findings.evidence import Evidence
from qgasim.findings.kinds import finding
from qgasim.guest.units import SECOND
from qgasim.wire import base64

__all__ = ["find_secret"]

#: How much of a text is searched.
SEARCHED: Final = 10_000
#: What is called so holds a secret; ``--password-file`` or ``PWD`` do not.
_NAME: Final = (
    r"[\w.-]*(?:password|passwd|passphrase|secret)"
    r"|(?:[\w.-]*[._-])?(?:pass|token|credentials?|(?:api|access|secret|private)[_-]?key)"
    r"|[\w.-]+[._-](?:pwd|pw)"
)
#: A value in clear: no variable, no file, no stand-in.
_VALUE: Final = r"(?![$@<*/-]|%[({])['\"]?(?![$@<*/-])[^\s'\"]+"
_PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "{0}=…",
        re.compile(
            rf"(?<![\w.-])['\"]?(-{{0,2}}(?:{_NAME}))['\"]?\s*[=:]\s*{_VALUE}", re.IGNORECASE
        ),
    ),
    ("{0} …", re.compile(rf"(?<![\w.-])(--(?:{_NAME}))\s+{_VALUE}", re.IGNORECASE)),
    (
        "a password in a URL",
        re.compile(r"(?<![\w+.-])[a-z][a-z0-9+.-]*://[^\s/:@]*:(?!\$)[^\s/@]+@", re.IGNORECASE),
    ),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    (
        "Authorization: …",
        re.compile(r"\bauthorization:\s*(?:bearer|basic)\s+(?!\$)\S+", re.IGNORECASE),
    ),
    ("sshpass -p …", re.compile(r"\bsshpass\s+-p\s*(?!\$)['\"]?[^\s$]")),
    ("-p…", re.compile(r"\b(?:mysql|mariadb)\w*\s(?:.*\s)?-p(?!\$)[^\s$]", re.DOTALL)),
    (
        "chpasswd",
        re.compile(
            r"(?<![\w.-])[\w.-]+:(?!\$)[^\s|]+\s*\|\s*(?:sudo\s+)?(?:\S*/)?chpasswd(?!\s+-)"
        ),
    ),
)


def find_secret(text: str) -> str | None:
    """Return what kind of secret there is in clear in *text*, not which; None: none that is known."""
    for said, pattern in _PATTERNS:
        found = pattern.search(text, 0, SEARCHED)
        if found:
            return said.format(*found.groups())
    return None


@finding(
    remedy="Set passwords by guest-set-user-password; give programs their secrets in a file of mode "
    "0600 that is written by guest-file-write, and removed afterwards."
)
def secret_in_exec(evidence: Evidence) -> Iterator[str]:
    """A client gave a password or another secret to guest-exec in clear.

    Arguments and environment of a process are to be seen in the guest by `ps` and in /proc, and the
    agent and the hypervisor may log the request, its input included. Looked for are names that end in
    password, passwd, passphrase, secret, token, key of an API and the like with a value (not with a
    variable or a file), `user:password@` in URLs, private keys, Authorization headers, and the
    ways of sshpass, mysql, chpasswd and `passwd --stdin`. The finding does not show the secret.
    """
    for request in evidence.requests:
        if request.command != "guest-exec":
            continue
        places = [f"{place} ({said})" for place, said in _places(request.arguments)]
        if places:
            path = request.arguments.get("path")
            shown = path if isinstance(path, str) and find_secret(path) is None else "a program"
            when = f"{request.sent / SECOND:.3f} s #{request.connection}"
            yield f"{when} guest-exec of {shown}: a secret in {', '.join(places)}"


def _places(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where there is a secret, and of what kind."""
    path = arguments.get("path")
    program = path if isinstance(path, str) else ""
    words = [program, *_texts(arguments.get("arg"))]
    found = False
    for number, word in enumerate(words):
        said = find_secret(word)
        if said is not None:
            found = True
            yield (f"argument {number}" if number else "the path"), said
    if not found and (said := find_secret(" ".join(words))) is not None:
        # A name, and its value in the next argument.
        yield "the arguments", said
    for variable in _texts(arguments.get("env")):
        said = find_secret(variable)
        if said is not None:
            yield "the environment", said
    given = _decode(arguments.get("input-data"))
    name = program.rpartition("/")[2]
    said = find_secret(given)
    if name == "chpasswd" and not {"-e", "--encrypted"} & set(words) and ":" in given:
        said = "chpasswd"
    elif name == "passwd" and "--stdin" in words and given.strip():
        said = "passwd --stdin"
    if said is not None:
        yield "the input", said


def _texts(value: object) -> list[str]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]


def _decode(value: object) -> str:
    try:
        return base64.decode(value).decode("latin-1") if isinstance(value, str) else ""
    except CommandError:
        return ""
