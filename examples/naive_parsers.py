"""What is often made of an agent's replies at first: right for the guests that its author had."""

from typing import Any

#: Mistake: there are more types of buses, and there will be.
BUSES = {"ide": "hd", "scsi": "sd", "virtio": "vd", "sata": "sd"}


def addresses(interfaces: list[dict[str, Any]]) -> dict[str, str]:
    """Mistakes: every interface has an address, a MAC and counters; what is not the loopback comes second."""
    outer = interfaces[1]
    assert outer["statistics"]["rx-bytes"] < 1 << 63
    return {outer["hardware-address"]: outer["ip-addresses"][0]["ip-address"]}


def usage(filesystems: list[dict[str, Any]]) -> dict[str, float]:
    """Mistakes: a size is always there and never 0, each file system has a disk, of a bus that one knows."""
    return {
        f"{BUSES[fs['disk'][0]['bus-type']]}:{fs['mountpoint']}": fs["used-bytes"]
        / fs["total-bytes"]
        for fs in filesystems
    }


def release(version: str) -> tuple[int, int, int]:
    """Mistake: a version is three numbers."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def system(osinfo: dict[str, str]) -> str:
    """Mistakes: a distribution's version is a number, and a name has no blanks at its ends."""
    text = f"{osinfo['id']} {float(osinfo['version-id']):g}"
    name, version = text.split(" ")
    return f"{name}-{version}"
