"""The real QEMU's monitor and ours, asked the same: a part of what `make fuzz-monitor` does."""

import pytest

from tests import fuzz_monitor
from tests.monitor_requests import Requests
from tests.real_qemu import needs_qemu
from tests.test_qmp import Machine


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


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_arguments_of_any_kind_are_refused_or_taken(release: str) -> None:
    machine = Machine(qemu=release, max_vcpus=4, memory_slots=2)
    requests = Requests(0)
    for data in requests.of_any_kind(150):
        machine.monitor.receive(data)
        output = machine.monitor.take_output()
        assert b"qgasim failed" not in output, (data, output)
