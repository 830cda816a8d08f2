"""The real QEMU's monitor and ours, asked the same: a part of what `make fuzz-monitor` does."""

import pytest

from tests import fuzz_monitor
from tests.real_qemu import needs_qemu


@pytest.mark.slow
@needs_qemu
def test_the_real_monitor_and_ours_answer_alike() -> None:
    found = [each for seed in range(2) for each in fuzz_monitor.differences(seed, requests=40)]
    assert not found, "\n".join(map(str, found[:5]))


@pytest.mark.slow
@needs_qemu
def test_the_fuzzer_of_the_monitor_sees_a_difference() -> None:
    with fuzz_monitor.pair("-S") as (real, ours):
        ours.machine.status = "paused"
        fuzz_monitor.exchange(real, ours, b'{"execute":"qmp_capabilities"}')
        from_real, from_ours = fuzz_monitor.exchange(real, ours, b'{"execute":"query-status"}')
    assert fuzz_monitor.mask(from_real) != fuzz_monitor.mask(from_ours)
