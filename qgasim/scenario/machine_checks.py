"""What must hold of the machine around a guest."""

import re
from typing import Final

from qgasim.qmp import MachineSettings
from qgasim.scenario.checks import Wrong, checks
from qgasim.scenario.model import Scenario

__all__: list[str] = []

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: How many processors, memory modules and resets there can be (pc: 255 processors, 256 slots).
_CPU_LIMIT: Final = 255
_SLOT_LIMIT: Final = 256
_RESET_LIMIT: Final = 10


@checks(MachineSettings)
def check_machine(machine: MachineSettings) -> Wrong:
    """Check what stands in one key, and in two."""
    if machine.uuid is not None and not _UUID.fullmatch(machine.uuid):
        expected = "as in 6a1f3c5e-1111-4222-8333-444455556666"
        yield "uuid", f"expected a UUID, {expected}, found {machine.uuid!r}"
    for name in ("port", "chardev"):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", value := getattr(machine, name)):
            yield name, f"expected an id (a letter, then letters, digits, '-._'), found {value!r}"
    if not 0 <= machine.firmware_resets <= _RESET_LIMIT:
        yield "firmware_resets", f"expected 0 to {_RESET_LIMIT}, found {machine.firmware_resets}"
    if not 0 <= machine.memory_slots <= _SLOT_LIMIT:
        yield "memory_slots", f"expected 0 to {_SLOT_LIMIT}, found {machine.memory_slots}"
    names = [dimm.id for dimm in machine.dimms]
    for index, dimm in enumerate(machine.dimms):
        if dimm.id in names[:index]:
            yield f"dimms[{index}].id", f"there is a module '{dimm.id}' already"
        if dimm.size <= 0:
            yield f"dimms[{index}].size", "expected more than 0 bytes"


@checks(Scenario, "machine.max_vcpus", "guest.vcpus")
def check_processors(scenario: Scenario) -> Wrong:
    """Check that there is a place for each processor of the guest."""
    machine, vcpus = scenario.machine, scenario.guest.vcpus
    if machine is None or machine.max_vcpus is None:
        return
    count = vcpus if isinstance(vcpus, int) else len(vcpus)
    if not count <= machine.max_vcpus <= _CPU_LIMIT:
        text = f"expected {count} (the guest's processors) to {_CPU_LIMIT}"
        yield "machine.max_vcpus", f"{text}, found {machine.max_vcpus}"
