"""Which program is started, and why not.

The expectations are what the real qemu-ga 7.2 (glib 2.74, Linux 6.1 and 6.18) answered for the same
files.
"""

import base64
import re

import pytest

from tests.serving import Course, request

FILES = {
    "noshebang": b"echo no shebang\n",
    "empty": b"",
    "zeros": b"\0\0\0\0",
    "blank": b"#!  \necho blank\n",
    "options": b"#! /bin/sh -e\nfalse\necho no\n",
    "words": b"#!/bin/echo a b\n",
    "bang": b"#!",
    "directory": b"#!/opt\n",
    "missing": b"#!/no/such/interpreter\n",
    "inner": b"#!/opt/x/noshebang\necho by the shell\n",
    "loop": b"#!/opt/x/loop\n",
    "return": b"#!/bin/sh\r\necho no\n",
    "feed": b"#!/bin/sh\x0c\necho no\n",
    "tabs": b"#!\t/bin/echo\ta\tb\t \n",
    "nul": b"#!/bin/echo\0 a\nx\n",
    "longest": b"#!/bin/echo " + b"x" * 243 + b"\n",
    "cut": b"#!/bin/echo " + b"x" * 300 + b"\n",
    "endless-word": b"#!/bin/" + b"x" * 300 + b"\necho by the shell\n",
}


@pytest.fixture
def course() -> Course:
    course = Course("lab-vm")
    files = course.guest.files
    files.mkdir("/opt/x")
    for name, data in FILES.items():
        files.write(f"/opt/x/{name}", data, 0o755)
    files.write("/opt/x/plain", b"echo plain\n", 0o644)
    files.symlink("endless", "/opt/x/endless")
    return course


def run(course: Course, path: str, *arg: str, search: str | None = None) -> str:
    """Execute a program; give its output and status, or why it was not started."""
    env = None if search is None else {"env": [f"PATH={search}"]}
    reply = course.send(
        request("guest-exec", path=path, arg=list(arg), capture_output=True, **(env or {}))
    ).decode()
    refused = re.search(r"process \\u201C.*\\u201D \((.*)\)'", reply)
    if refused:
        return refused[1]
    course.advance(1)
    pid = int(reply.split('"pid": ')[1].split("}")[0])
    status = course.say("guest-exec-status", pid=pid)["return"]
    return f"{status['exitcode']} {status.get('out-data', '')}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("noshebang", "0 bm8gc2hlYmFuZwo="),
        ("empty", "0 "),
        ("blank", "0 YmxhbmsK"),
        ("options", "1 "),
        # echo gets "a b", the script's path and the argument.
        ("words", "0 YSBiIC9vcHQveC93b3JkcyB5Cg=="),
        ("bang", "Permission denied"),
        ("directory", "Permission denied"),
        ("missing", "No such file or directory"),
        ("plain", "Permission denied"),
        ("endless", "Too many levels of symbolic links"),
        ("inner", "0 YnkgdGhlIHNoZWxsCg=="),
        ("loop", "Too many levels of symbolic links"),
        ("noshebang/y", "Not a directory"),
        # Only blanks and tabs separate.
        ("return", "No such file or directory"),
        ("feed", "No such file or directory"),
        ("tabs", "0 " + base64.b64encode(b"a\tb /opt/x/tabs y\n").decode()),
        ("nul", "0 " + base64.b64encode(b"/opt/x/nul y\n").decode()),
        # The kernel looks at 256 bytes.
        ("longest", "0 " + base64.b64encode(b"x" * 243 + b" /opt/x/longest y\n").decode()),
        ("cut", "0 " + base64.b64encode(b"x" * 243 + b" /opt/x/cut y\n").decode()),
        ("endless-word", "0 YnkgdGhlIHNoZWxsCg=="),
    ],
)
def test_a_file_runs_or_says_why_not(course: Course, name: str, expected: str) -> None:
    assert run(course, f"/opt/x/{name}", "y") == expected


@pytest.mark.parametrize(
    ("name", "search", "expected"),
    [
        ("noshebang", "/nosuch:/opt/x", "0 bm8gc2hlYmFuZwo="),
        ("noshebang", "opt/x", "0 bm8gc2hlYmFuZwo="),
        ("noshebang", "", "No such file or directory"),
        # What cannot be started is passed over, and remembered if permission was denied.
        ("hello", "/opt/x/plain:/opt/bin", "0 aGVsbG8K"),
        ("plain", "/opt/x:/nosuch", "Permission denied"),
        ("missing", "/opt/x:/opt/x/plain", "Not a directory"),
        ("x", "/opt", "Permission denied"),
        # Any other error ends the search.
        ("endless", "/opt/x:/opt/bin", "Too many levels of symbolic links"),
        ("n" * 256, "/opt/x", "File name too long"),
    ],
)
def test_a_name_is_looked_up_in_each_directory(
    course: Course, name: str, search: str, expected: str
) -> None:
    assert run(course, name, search=search) == expected


TOO_LONG = "Argument list too long"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "arg", "env", "expected"),
    [
        ("/bin/true", ["x" * 131_071], [], "0 "),
        ("/bin/true", ["x" * 131_072], [], TOO_LONG),
        ("true", ["x" * 131_072], ["PATH=/nosuch:/bin"], TOO_LONG),
        ("/bin/true", [], ["x" * 131_072], TOO_LONG),
        ("/bin/true", ["y" * 100_000] * 20, [], "0 "),
        ("/bin/true", ["y" * 100_000] * 21, [], TOO_LONG),
        ("/bin/true", ["y"] * 200_000, [], "0 "),
        ("/bin/true", ["y"] * 215_000, [], TOO_LONG),
        ("/nosuch", ["x" * 131_072], [], "No such file or directory"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_arguments_have_a_limit(
    course: Course, path: str, arg: list[str], env: list[str], expected: str
) -> None:
    reply = course.send(request("guest-exec", path=path, arg=arg, env=env)).decode()
    refused = re.search(r"\((.*)\)'\"}}", reply)
    if refused:
        assert refused[1] == expected
        return
    course.advance(1)
    status = course.say("guest-exec-status", pid=int(reply.split('"pid": ')[1].split("}")[0]))
    assert f"{status['return']['exitcode']} " == expected
