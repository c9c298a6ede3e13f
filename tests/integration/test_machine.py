"""The machine that the tests run on, and what others say of themselves."""

import pytest

from lanmesh.machine import LocalMachine, cpu_model


def test_a_machine_knows_itself() -> None:
    machine = LocalMachine()

    hardware = machine.hardware()

    assert hardware.cpu
    assert hardware.cores >= 1
    assert hardware.memory_bytes > 2**28
    assert hardware.os
    assert machine.hardware() is hardware


def test_load_is_in_percent_and_looked_at_once_a_second() -> None:
    machine = LocalMachine()

    load = machine.load()

    assert 0 <= load.cpu_percent <= 100
    assert 0 < load.memory_percent <= 100
    assert machine.load() is load


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU\nstepping\t: 7\n",
            "Intel(R) Xeon(R) CPU",
        ),
        ("processor\t: 0\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n", "BCM2835"),
        ("processor\t: 0\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n", "Raspberry Pi 5 Model B Rev 1.0"),
        ("processor\t: 0\nmodel name\t:\n", None),
        ("", None),
    ],
)
def test_the_processor_is_named_as_its_kernel_spells_it(cpuinfo: str, model: str | None) -> None:
    assert cpu_model(cpuinfo) == model


def test_the_loopback_leads_to_this_machine_and_names_are_not_looked_up() -> None:
    machine = LocalMachine()

    assert machine.online(["127.0.0.1"])
    assert machine.online(["localhost"])
    assert machine.online(["desk.invalid", "fe80::1", ""]) == machine.online([])
