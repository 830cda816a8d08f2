"""The guests to extend, against what their distributions say.

The scenarios' `origin` names the sources; what is expected here is copied from those, not from our answers.
"""

import pytest

from qgasim.guest.system.os_release import write_os_release
from tests.serving import Course

#: /etc/os-release, as printed on such a machine or written by the build.
OS_RELEASE: dict[str, str] = {
    "debian-12": """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
""",
    "ubuntu-24.04": """\
PRETTY_NAME="Ubuntu 24.04.1 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.1 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
HOME_URL="https://www.ubuntu.com/"
SUPPORT_URL="https://help.ubuntu.com/"
BUG_REPORT_URL="https://bugs.launchpad.net/ubuntu/"
PRIVACY_POLICY_URL="https://www.ubuntu.com/legal/terms-and-policies/privacy-policy"
UBUNTU_CODENAME=noble
LOGO=ubuntu-logo
""",
    "rhel-9": """\
NAME="Red Hat Enterprise Linux"
VERSION="9.2 (Plow)"
ID="rhel"
ID_LIKE="fedora"
VERSION_ID="9.2"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Red Hat Enterprise Linux 9.2 (Plow)"
ANSI_COLOR="0;31"
LOGO="fedora-logo-icon"
CPE_NAME="cpe:/o:redhat:enterprise_linux:9::baseos"
HOME_URL="https://www.redhat.com/"
DOCUMENTATION_URL="https://access.redhat.com/documentation/en-us/red_hat_enterprise_linux/9"
BUG_REPORT_URL="https://bugzilla.redhat.com/"

REDHAT_BUGZILLA_PRODUCT="Red Hat Enterprise Linux 9"
REDHAT_BUGZILLA_PRODUCT_VERSION=9.2
REDHAT_SUPPORT_PRODUCT="Red Hat Enterprise Linux"
REDHAT_SUPPORT_PRODUCT_VERSION="9.2"
""",
    "rhel-10": """\
NAME="Red Hat Enterprise Linux"
VERSION="10.1 (Coughlan)"
ID="rhel"
ID_LIKE="centos fedora"
VERSION_ID="10.1"
PLATFORM_ID="platform:el10"
PRETTY_NAME="Red Hat Enterprise Linux 10.1 (Coughlan)"
ANSI_COLOR="0;31"
LOGO="fedora-logo-icon"
CPE_NAME="cpe:/o:redhat:enterprise_linux:10::baseos"
HOME_URL="https://www.redhat.com/"
VENDOR_NAME="Red Hat"
VENDOR_URL="https://www.redhat.com/"
DOCUMENTATION_URL="https://access.redhat.com/documentation/en-us/red_hat_enterprise_linux/10"
BUG_REPORT_URL="https://issues.redhat.com/"

REDHAT_BUGZILLA_PRODUCT="Red Hat Enterprise Linux 10"
REDHAT_BUGZILLA_PRODUCT_VERSION=10.1
REDHAT_SUPPORT_PRODUCT="Red Hat Enterprise Linux"
REDHAT_SUPPORT_PRODUCT_VERSION="10.1"
""",
    "fedora-43": """\
NAME="Fedora Linux"
VERSION="43 (Cloud Edition)"
RELEASE_TYPE=stable
ID=fedora
VERSION_ID=43
VERSION_CODENAME=""
PRETTY_NAME="Fedora Linux 43 (Cloud Edition)"
ANSI_COLOR="0;38;2;60;110;180"
LOGO=fedora-logo-icon
CPE_NAME="cpe:/o:fedoraproject:fedora:43"
DEFAULT_HOSTNAME="fedora"
HOME_URL="https://fedoraproject.org/"
DOCUMENTATION_URL="https://docs.fedoraproject.org/en-US/fedora/f43/"
SUPPORT_URL="https://ask.fedoraproject.org/"
BUG_REPORT_URL="https://bugzilla.redhat.com/"
REDHAT_BUGZILLA_PRODUCT="Fedora"
REDHAT_BUGZILLA_PRODUCT_VERSION=43
REDHAT_SUPPORT_PRODUCT="Fedora"
REDHAT_SUPPORT_PRODUCT_VERSION=43
SUPPORT_END=2026-12-02
VARIANT="Cloud Edition"
VARIANT_ID=cloud
""",
    "alpine-3.20": """\
NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.20.0
PRETTY_NAME="Alpine Linux v3.20"
HOME_URL="https://alpinelinux.org/"
BUG_REPORT_URL="https://gitlab.alpinelinux.org/alpine/aports/-/issues"
""",
    "freebsd-14": """\
NAME=FreeBSD
VERSION="14.1-RELEASE"
VERSION_ID="14.1"
ID=freebsd
ANSI_COLOR="0;31"
PRETTY_NAME="FreeBSD 14.1-RELEASE"
CPE_NAME="cpe:/o:freebsd:freebsd:14.1"
HOME_URL="https://FreeBSD.org/"
BUG_REPORT_URL="https://bugs.FreeBSD.org/"
""",
    "haos": """\
NAME="Home Assistant OS"
VERSION="13.2 (Open Virtual Appliance)"
ID=haos
VERSION_ID=13.2
PRETTY_NAME="Home Assistant OS 13.2"
CPE_NAME=cpe:2.3:o:home-assistant:haos:13.2:*:production:*:*:*:ova:*
HOME_URL=https://hass.io/
VARIANT="Home Assistant OS Open Virtual Appliance"
VARIANT_ID=ova
SUPERVISOR_MACHINE=qemux86-64
SUPERVISOR_ARCH=amd64
""",
    "talos-without-agent": """\
NAME="Talos"
ID=talos
VERSION_ID=v1.9.5
PRETTY_NAME="Talos (v1.9.5)"
HOME_URL="https://www.talos.dev/"
BUG_REPORT_URL="https://github.com/siderolabs/talos/issues"
VENDOR_NAME="Sidero Labs"
VENDOR_URL="https://www.siderolabs.com/"
""",
}
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


@pytest.mark.parametrize("name", OS_RELEASE)
def test_os_release_is_the_distributions(name: str) -> None:
    assert Course(name).guest.files.read("/etc/os-release").decode() == OS_RELEASE[name]


@pytest.mark.parametrize("name", VERSIONS)
def test_the_agents_version_is_the_packages(name: str) -> None:
    assert Course(name).say("guest-info")["return"]["version"] == VERSIONS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_the_agent_refuses_what_the_package_lets_it_refuse(name: str) -> None:
    refused = set(Course(name).agent.commands.blocked)
    # For Windows only; up to 9.0 others have it, disabled (recorded: info/guest-info).
    assert refused - {"guest-get-devices"} == REFUSED[name]


@pytest.mark.parametrize(
    ("mode", "state", "events"),
    [("powerdown", "off", ["SHUTDOWN"]), ("reboot", "rebooting", ["RESET"])],
)
def test_alpine_has_no_shutdown_and_is_shut_down(mode: str, state: str, events: list[str]) -> None:
    course = Course("alpine-3.20")
    assert not course.guest.files.exists("/sbin/shutdown")
    # aports, guest-agent-shutdown.patch.
    assert course.say("guest-shutdown", mode=mode) is None
    course.advance(1)
    assert (course.guest.power.state, course.guest.power.events) == (state, events)


def test_a_root_of_type_erofs_is_not_frozen() -> None:
    # erofs_sops of Linux has no freeze_fs, so that FIFREEZE says EOPNOTSUPP, which qemu-ga passes over.
    course = Course("haos")
    assert course.say("guest-fsfreeze-freeze") == {"return": 3}
    frozen = {device for device, volume in course.guest.volumes.items() if volume.is_frozen}
    assert frozen == {"/dev/sda7", "/dev/sda8", "/dev/zram2"}


def test_what_a_shell_would_take_for_itself_is_always_quoted() -> None:
    fields = {"ID": "haos", "VERSION_ID": "1 $x", "HOME_URL": "", "X": 'a"`\\'}
    text = 'ID=haos\nVERSION_ID="1 \\$x"\nHOME_URL=""\nX="a\\"\\`\\\\"\n'
    assert write_os_release(fields) == text
