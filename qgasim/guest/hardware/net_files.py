"""What the files of /proc/net say about VLANs and bonds."""

from collections.abc import Iterable, Sequence
from typing import Final

from qgasim.guest.hardware.network import Counters, Nic

__all__ = ["show_bond", "show_vlan", "show_vlans"]

#: What struct net_device has of a VLAN: 802_1Q_VLAN, XMIT_DST_RELEASE, UNICAST_FLT, NO_QUEUE. UNVERIFIED:
#: since which kernel; older ones print 16 bits of it, 1021.
_PRIVATE_FLAGS: Final = 0x81021


def show_vlans(nics: Iterable[Nic]) -> bytes:
    """Show what net/8021q/vlanproc.c, vlan_seq_show() shows: all VLANs."""
    lines = ["VLAN Dev name\t | VLAN ID", "Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD"]
    lines += [f"{nic.name:<15}| {nic.vlan.id}  | {nic.vlan.on}" for nic in nics if nic.vlan]
    return "".join(f"{line}\n" for line in lines).encode()


def show_vlan(nic: Nic, count: Counters) -> bytes:
    """Show what net/8021q/vlanproc.c, vlandev_seq_show() shows: one VLAN."""
    if nic.vlan is None:
        return b""
    amounts = [
        ("total frames received", count.rx_packets),
        ("total bytes received", count.rx_bytes),
        ("Broadcast/Multicast Rcvd", 0),
        None,
        ("total frames transmitted", count.tx_packets),
        ("total bytes transmitted", count.tx_bytes),
    ]
    lines = [
        f"{nic.name}  VID: {nic.vlan.id}\t REORDER_HDR: 1  dev->priv_flags: {_PRIVATE_FLAGS:x}",
        *("" if amount is None else f"{amount[0]:>30} {amount[1]:12d}" for amount in amounts),
        f"Device: {nic.vlan.on}",
        "INGRESS priority mappings: 0:0  1:0  2:0  3:0  4:0  5:0  6:0 7:0",
        " EGRESS priority mappings: ",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def show_bond(bond: Nic, nics: Sequence[Nic], kernel: str) -> bytes:
    """Show what drivers/net/bonding/bond_procfs.c shows: a bond as it is made without options.

    Without a polling interval, all parts are taken to be up. virtio-net tells no speed.

    Args:
        bond: the bond.
        nics: all interfaces.
        kernel: the release of the kernel, which is the driver's.
    """
    lines = [
        f"Ethernet Channel Bonding Driver: v{kernel}",
        "",
        "Bonding Mode: load balancing (round-robin)",
        f"MII Status: {'up' if bond.up else 'down'}",
        *(f"{what} (ms): 0" for what in ("MII Polling Interval", "Up Delay", "Down Delay")),
        "Peer Notification Delay (ms): 0",
    ]
    for part in (nic for name in bond.bond for nic in nics if nic.name == name):
        lines += [
            "",
            f"Slave Interface: {part.name}",
            "MII Status: up",
            "Speed: Unknown",
            "Duplex: Unknown",
            "Link Failure Count: 0",
            f"Permanent HW addr: {(part.permanent_mac or part.mac or '').lower()}",
            "Slave queue ID: 0",
        ]
    return "".join(f"{line}\n" for line in lines).encode()
