"""Record what a real QEMU says of itself when libvirt probes its capabilities: qgasim/emulator/data.

    python -m tests.emulator.record_probe qemu-system-x86_64 qgasim/emulator/data/7.2.json.gz

It runs the emulator with ``-machine none``, without a guest, and asks what libvirt 9.0 asks
(``virsh capabilities``; its questions were logged). What the monitor answers itself is left out:
query-qmp-schema, query-commands, query-version, query-target, query-kvm.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qemu.qmp.legacy import QEMUMonitorProtocol

PLAIN = (
    "qom-list-types query-machines query-cpu-definitions query-tpm-models query-tpm-types"
    " query-command-line-options query-sev-capabilities query-sgx-capabilities"
)
DEVICES = """
    ICH9-LPC PIIX4_PM VGA ide-hd intel-iommu kvm-pit mch nvdimm pcie-root-port qxl scsi-hd usb-host
    usb-redir usb-storage vfio-pci vhost-user-fs-device virtio-balloon-ccw virtio-balloon-device
    virtio-balloon-pci virtio-blk-pci virtio-gpu-device virtio-gpu-pci virtio-iommu-pci virtio-mem-pci
    virtio-net-ccw virtio-net-pci virtio-scsi-ccw virtio-scsi-pci vmware-svga
"""
OBJECTS = "none-machine memory-backend-file memory-backend-memfd memory-backend-ram max-x86_64-cpu"
#: What can be plugged in (qgasim/qmp/commands/devices.py), and what it is plugged into.
PLUGGED = """
    e1000 e1000e i6300esb ich9-intel-hda ide-hd igb isa-serial ne2k_pci nvme pc-dimm pci-bridge
    pcie-root-port pcnet pvpanic qemu-xhci qemu64-x86_64-cpu rtl8139 scsi-cd scsi-hd usb-ehci usb-kbd
    usb-mouse usb-storage usb-tablet virtconsole virtio-balloon-pci virtio-blk-pci
    virtio-blk-pci-non-transitional virtio-blk-pci-transitional virtio-net-pci
    virtio-net-pci-non-transitional virtio-net-pci-transitional virtio-rng-pci virtio-scsi-pci
    virtio-serial-pci virtserialport vmgenid vmxnet3
"""
OTHERS = """
    container device iothread memory-backend-ram nope virtio-blk-device virtio-net-device
    virtio-rng-device virtio-scsi-device virtio-serial-device
"""
#: Where the first processor is.
CPU = "/machine/unattached/device[0]"

Ask = Any


@contextmanager
def running(emulator: str, *arguments: str) -> Iterator[Ask]:
    """Run *emulator*, and give what asks its monitor."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/monitor"
        with QEMUMonitorProtocol(path, server=True) as monitor:
            process = subprocess.Popen(
                [
                    emulator,
                    "-S",
                    "-no-user-config",
                    "-nodefaults",
                    "-nographic",
                    *arguments,
                    "-qmp",
                    f"unix:{path}",
                ],
                stdin=subprocess.DEVNULL,
            )
            monitor.accept()

            def ask(command: str, **arguments: Any) -> Any:
                request = {"execute": command}
                return monitor.cmd_obj(
                    {**request, "arguments": arguments} if arguments else request
                )

            yield ask
            process.terminate()
            process.wait(10)


def record(emulator: str) -> dict[str, Any]:
    replies: dict[str, Any] = {}
    models: dict[str, Any] = {}
    with running(emulator, "-machine", "none,accel=tcg") as ask:

        def keep(command: str, **arguments: Any) -> Any:
            key = f"{command} {json.dumps(arguments, sort_keys=True)}" if arguments else command
            replies[key] = ask(command, **arguments)
            return replies[key]

        for command in PLAIN.split():
            keep(command)
        for device in DEVICES.split():
            keep("device-list-properties", typename=device)
        for name in OBJECTS.split():
            keep("qom-list-properties", typename=name)
        for name in f"{PLUGGED} {OTHERS}".split():
            keep("device-list-properties", typename=name)
            keep("qom-list-properties", typename=name)
        for each in keep("qom-list-types", abstract=True)["return"]:
            if each.get("parent") == "interface":
                keep("qom-list-types", abstract=True, implements=each["name"])
        for line in ("help", "info"):
            keep("human-monitor-command", **{"command-line": line})
        keep("query-cpu-model-expansion", type="static", model={"name": "max"})
        for cpu in replies["query-cpu-definitions"]["return"]:
            reply = ask("query-cpu-model-expansion", type="full", model={"name": cpu["name"]})
            models[cpu["name"]] = reply["return"]["model"]["props"]
    with running(emulator, "-machine", "pc,accel=tcg", "-m", "64") as ask:
        properties = ask("qom-list", path=CPU)["return"]
        values = {
            each["name"]: ask("qom-get", path=CPU, property=each["name"]) for each in properties
        }
    return {"replies": replies, "models": models, "cpu": properties, "cpu_values": values}


def main(emulator: str, path: str) -> None:
    text = json.dumps(record(emulator), separators=(",", ":")).encode()
    Path(path).write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
