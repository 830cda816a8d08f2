"""The fixture `qga_libvirt`."""

import pytest

from qgasim.testing.libvirt import LibvirtDomain

pytestmark = pytest.mark.slow


@pytest.mark.qgasim(scenario="debian-12", agent="10.0", guest={"hostname": "behind-libvirt"})
def test_a_domain_has_the_tests_guest(qga_libvirt: LibvirtDomain) -> None:
    assert qga_libvirt.virsh("domstate") == "running"
    assert qga_libvirt.name in qga_libvirt.libvirt.virsh("list", "--name").stdout
    with pytest.raises(RuntimeError, match="unknown command"):
        qga_libvirt.virsh("nosuchcommand")
