"""The guests to extend, against what their distributions say.

The scenarios' `origin` names the sources; what is expected here is copied from those, not from our answers.
"""

import pytest

from tests.serving import Course

#: What guest-info says is the version: that of the package, or of virtio-win's.
VERSIONS: dict[str, str] = {
    "debian-12": "7.2.22",
    "ubuntu-24.04": "8.2.2",
    "rhel-9": "7.2.0",
    "rhel-10": "10.0.0",
    "fedora-43": "10.1.0",
    "alpine-3.20": "9.0.0",
    "freebsd-14": "9.0.0",
    "haos": "8.0.5",
    "windows-11": "108.0.2",
    "windows-server-2022": "108.0.2",
    # Builds that are older than virtio-win's own numbers.
    "windows-nics-old": "3.1.0",
}
FILES_AND_PROGRAMS = {
    "guest-file-open", "guest-file-close", "guest-file-read", "guest-file-write", "guest-file-seek",
    "guest-file-flush", "guest-exec", "guest-exec-status",
}  # fmt: skip
#: What the package's configuration refuses. RHEL 10 names what it serves: of what a Linux has in 10.0, these are missing.
REFUSED: dict[str, set[str]] = {
    "debian-12": set(),
    "ubuntu-24.04": set(),
    "alpine-3.20": set(),
    "fedora-43": set(),
    "haos": set(),
    "rhel-9": FILES_AND_PROGRAMS,
    "rhel-10": FILES_AND_PROGRAMS | {"guest-network-get-route", "guest-get-load"},
}


@pytest.mark.parametrize("name", VERSIONS)
def test_the_agents_version_is_the_packages(name: str) -> None:
    assert Course(name).say("guest-info")["return"]["version"] == VERSIONS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_the_agent_refuses_what_the_package_lets_it_refuse(name: str) -> None:
    table = Course(name).agent.table
    refused = {command for command, entry in table.items() if entry.is_blocked}
    # For Windows only; up to 9.0 others have it, disabled (recorded: info/guest-info).
    assert refused - {"guest-get-devices"} == REFUSED[name]
