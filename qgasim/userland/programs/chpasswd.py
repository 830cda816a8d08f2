"""The program chpasswd."""

from importlib import import_module
from string import ascii_letters, digits
from typing import Any, Final

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import DAY
from qgasim.userland.programs.getopt import parse
from qgasim.userland.programs.inputs import split_lines
from qgasim.userland.programs.messages import complain, explain, fail
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.user_names import find_user

__all__: list[str] = []

SHADOW: Final = "/etc/shadow"
SALT_LETTERS: Final = f"./{digits}{ascii_letters}"
#: PAM_MAX_RESP_SIZE: what pam_unix takes from chpasswd (recorded: password/long).
PASSWORD_MAX: Final = 512


@program("chpasswd")
def chpasswd(p: Process) -> Steps:
    """Set the passwords of accounts, as lines of the standard input say: ``user:password``.

    It is Debian's, with PAM: plain passwords are set one by one, encrypted ones (-e) all or none.
    """
    options = yield from parse(p, "e", {"encrypted": "e"})
    is_encrypted = "e" in options
    data = yield from p.read_all(0)
    hashes: dict[str, str] = {}
    failures = 0
    for number, raw in enumerate(split_lines(p, data.removesuffix(b"\n")) if data else [], 1):
        line = decode_name(raw)
        user, colon, password = line.partition(":")
        if not colon:
            yield from complain(p, f"line {number}: missing new password")
            failures += 1
        elif is_encrypted:
            if find_user(p, user) is None:
                yield from complain(p, f"line {number}: user '{user}' does not exist")
                failures += 1
            hashes[user] = password
        elif (problem := _find_problem(p, user, password)) is None:
            hashes[user] = _hash(p, encode_name(password))
        else:
            said, reason = problem
            # PAM asks three times.
            yield from p.write(2, 3 * said)
            yield from complain(p, f"(user {user}) pam_chauthtok() failed, error:\n{reason}")
            yield from complain(p, f"(line {number}, user {user}) password not changed")
            failures += 1
    if failures and is_encrypted:
        yield from fail(p, "error detected, changes ignored")
    if hashes:
        yield from _store(p, hashes)
    return int(failures > 0)


def _find_problem(p: Process, user: str, password: str) -> tuple[str, str] | None:
    """Find why PAM refuses a password: what its module says, and what PAM calls it."""
    failed = "Authentication token manipulation error"
    if not user or find_user(p, user) is None:
        return "", "User not known to the underlying authentication module"
    if not password:
        return "No password has been supplied.\n", failed
    if len(encode_name(password)) > PASSWORD_MAX:
        return "You must choose a shorter password.\n", failed
    return None


def _hash(p: Process, password: bytes) -> str:
    """Hash a password as crypt(3) does with ``$6$``."""
    # Imported here because it takes long, and by name because it has no types.
    sha512_crypt: Any = import_module("passlib.hash").sha512_crypt
    salt = "".join(p.guest.random.choice(SALT_LETTERS) for _ in range(16))
    # 5000 rounds are the default, which the text does not name. What is behind a NUL is not seen.
    hasher = sha512_crypt.using(salt=salt, rounds=5000)
    return str(hasher.hash(password.split(b"\0", 1)[0]))


def _store(p: Process, hashes: dict[str, str]) -> Waiting[None]:
    """Put the hashes into /etc/shadow, each with today as the day of the change."""
    files = p.guest.files
    today = str(p.guest.clock.now() // DAY)
    try:
        lines = decode_name(files.read_settings(SHADOW)).split("\n")
    except OSError as error:
        yield from fail(p, f"cannot open {SHADOW}: {explain(error)}")
        return
    rows = [line.split(":") for line in lines if line]
    left = dict(hashes)
    for row in rows:
        if row[0] in left and len(row) > 2:
            row[1], row[2] = left.pop(row[0]), today
    rows += [[user, text, today, "0", "99999", "7", "", "", ""] for user, text in left.items()]
    text = "".join(":".join(row) + "\n" for row in rows)
    yield from p.call(files.write, SHADOW, encode_name(text), 0o640)
