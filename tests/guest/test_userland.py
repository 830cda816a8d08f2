"""What runs in a guest is given to it: programs by name, and the files that run them."""

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.processes.process import Process, Steps
from qgasim.guest.processes.userland import Userland, program_image
from qgasim.guest.settings import ProgramSettings
from tests.userland.programs.conftest import Run, run

__all__ = ["run"]


def greet(p: Process) -> Steps:
    yield from p.write(1, f"hello {' '.join(p.argv[1:])}\n")
    return 7


GREETING = Userland(
    programs={"greet": greet},
    files={"/usr/bin": {"hi": "greet"}},
    links={"/usr/bin": {"hello": "hi"}},
)


def test_a_guest_has_no_programs_of_its_own(run: Run) -> None:
    guest = Guest(GuestSettings(), source=lambda: 0)
    assert guest.files.listdir("/usr/bin") == []
    with pytest.raises(FileNotFoundError):
        run(guest, ["ls"])


def test_a_guest_runs_the_programs_that_it_is_given(run: Run) -> None:
    guest = Guest(GuestSettings(), GREETING, source=lambda: 0)
    for name in ("hi", "hello", "/usr/bin/hello"):
        out, _, how = run(guest, [name, "you"])
        assert (out, how.code) == (b"hello you\n", 7)


def test_a_copy_of_a_program_runs_it_and_an_unknown_one_does_not_run(run: Run) -> None:
    guest = Guest(GuestSettings(), GREETING, source=lambda: 0)
    guest.files.write("/tmp/copy", guest.files.read("/usr/bin/hi"), 0o755)
    assert run(guest, ["/tmp/copy"])[0] == b"hello \n"
    guest.files.write("/tmp/other", program_image("other"), 0o755)
    # The kernel does not know it, so the shell is to run it; there is none.
    with pytest.raises(FileNotFoundError):
        run(guest, ["/tmp/other"])


def test_a_guest_without_programs_runs_those_that_its_settings_describe(run: Run) -> None:
    settings = GuestSettings(programs=[ProgramSettings(path="/opt/tool", stdout="yes\n")])
    assert run(Guest(settings, source=lambda: 0), ["/opt/tool"])[0] == b"yes\n"
