"""What NVML says of GPUs becomes records: unsupported is None, absence has a reason."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pynvml
import pytest

from qualify import nvml
from qualify.gpu_records import GpuEvent, GpuHealth, GpuSettings, NvLink
from qualify.nvml import Library, NvmlError
from qualify.nvml_ask import CANNOT, REFUSED
from qualify.nvml_load import REASONS, reasons
from qualify.records import Gpu
from tests.fake_pynvml import H100, RTX_4090, By, FakePynvml, error


def test_every_field_of_a_data_centre_gpu_is_filled() -> None:
    """The library's milliwatts and megahertz become watts and hertz; a free GPU has zero processes, not None."""
    found, problems = nvml.gpus(Library(FakePynvml([H100])))

    assert problems == ()
    assert found == (
        Gpu(
            index=0,
            name="NVIDIA H100 80GB HBM3",
            uuid="GPU-11111111-2222-3333-4444-555555555555",
            memory_bytes=85_520_809_984,
            memory_used_bytes=4_587_520,
            ecc_enabled=True,
            ecc_uncorrected=0,
            power_limit_w=700.0,
            power_default_w=700.0,
            temperature_c=31.0,
            sm_clock_max_hz=1.98e9,
            pcie_generation=5,
            pcie_width=16,
            mig=False,
            processes=0,
            health=GpuHealth(ecc_corrected=0, ecc_corrected_ever=0, ecc_uncorrected_ever=0),
            settings=GpuSettings(ecc_pending=True, memory_clock_max_hz=1.98e9),
        ),
    )


def test_what_a_gpu_does_not_support_is_none_and_never_zero() -> None:
    """A consumer GPU has no ECC counters: that is not an absence of errors."""
    (gpu,), problems = nvml.gpus(Library(FakePynvml([RTX_4090])))

    assert problems == ()
    assert (gpu.ecc_enabled, gpu.ecc_uncorrected, gpu.mig, gpu.power_default_w) == (None, None, None, None)
    assert (gpu.power_limit_w, gpu.processes, gpu.pcie_width) == (450.0, 2, 8)


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    ],
)
def test_an_old_driver_or_an_unprivileged_user_costs_a_field_and_no_more(code: int) -> None:
    """The rest of the record stands, without a problem."""
    (gpu,), problems = nvml.gpus(Library(FakePynvml([{**H100, "TotalEccErrors": error(code)}])))

    assert gpu.ecc_uncorrected is None
    assert gpu.ecc_enabled is True
    assert problems == ()


def test_a_lost_gpu_is_listed_without_figures_and_named_as_a_problem() -> None:
    """A GPU that fell off the bus must neither vanish nor hide its neighbour."""
    lost = dict.fromkeys(H100, error(pynvml.NVML_ERROR_GPU_IS_LOST))

    found, problems = nvml.gpus(Library(FakePynvml([lost, H100])))

    assert found[0] == Gpu(index=0, health=GpuHealth(), settings=GpuSettings(), refused=("gpu_is_lost",))
    assert found[1].name == "NVIDIA H100 80GB HBM3"
    assert problems == ("GPU 0 did not answer 16 questions: GPU is lost.",)


def test_one_broken_question_leaves_the_others() -> None:
    """A corrupt infoROM spoils what it stores and nothing else."""
    broken = {**H100, "EccMode": error(pynvml.NVML_ERROR_CORRUPTED_INFOROM)}

    (gpu,), problems = nvml.gpus(Library(FakePynvml([broken])))

    assert gpu.ecc_enabled is None
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert problems == ("GPU 0 did not answer 2 questions: Corrupted infoROM.",)


def test_a_driver_without_the_new_temperature_is_asked_the_old_way() -> None:
    """Drivers before R570 do not know nvmlDeviceGetTemperatureV."""
    old = {**H100, "TemperatureV": error(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND), "Temperature": 52}

    assert Library(FakePynvml([old])).temperature_c(0) == 52.0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "libnvidia-ml.so.1 not found"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "kernel module is not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "no permission"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML could not start"),
    ],
)
def test_a_library_that_does_not_open_says_why(code: int, words: str) -> None:
    """The message can stand in the report as the reason why no GPU was looked at."""
    with pytest.raises(NvmlError, match=words):
        Library(FakePynvml(closed=error(code)))


def test_versions_of_driver_and_cuda_are_in_words() -> None:
    """12080 is how the library writes CUDA 12.8."""
    library = Library(FakePynvml())

    assert (library.driver_version(), library.cuda_version(), library.count()) == ("570.86.10", "12.8", 0)


def test_closing_shuts_the_library_down() -> None:
    """Nothing keeps the driver in use after a probe."""
    module = FakePynvml([H100])
    library = Library(module)

    library.close()

    assert not module.is_open


def test_the_real_package_without_a_driver_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through pynvml itself, on a machine whose loader finds no libnvidia-ml."""

    def not_found(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", not_found)

    with pytest.raises(NvmlError, match=r"libnvidia-ml\.so\.1 not found"):
        nvml.open_nvml()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renter's slim installation has no nvidia-ml-py."""
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(NvmlError, match=r"pip install 'gridmark\[node\]'"):
        nvml.open_nvml()


@pytest.mark.parametrize(
    "name", sorted(name.removeprefix("NVML_ERROR_") for name in vars(pynvml) if name.startswith("NVML_ERROR_"))
)
def test_every_error_of_the_library_is_either_an_absence_or_a_refusal(name: str) -> None:
    """An absence is None and no problem; a refusal names itself; none of them escapes."""
    broken = {**H100, "UUID": error(getattr(pynvml, f"NVML_ERROR_{name}"))}

    (gpu,), problems = nvml.gpus(Library(FakePynvml([broken])))

    assert gpu.uuid is None
    assert (name in CANNOT) != (name in REFUSED)
    assert gpu.refused == ((name.lower(),) if name in REFUSED else ())
    assert len(problems) == (name in REFUSED)


@pytest.mark.parametrize(("bit", "name"), REASONS.items())
def test_each_reason_of_a_clock_is_one_bit(bit: int, name: str) -> None:
    """Alone it is its name; the driver's constant of that name has the same value."""
    assert reasons(bit) == (name,)
    assert bit in {value for key, value in vars(pynvml).items() if key.startswith("nvmlClocksThrottleReason")}


def test_several_reasons_are_told_apart_and_a_new_one_is_not_lost() -> None:
    """0x844: power cap, hardware heat, and a bit that nobody has named yet."""
    assert reasons(0x844) == ("sw_power_cap", "hw_thermal", "bit_11")
    assert reasons(0) == ()


def test_health_settings_and_links_are_read_in_si_units() -> None:
    """Hertz, watts and words; a link that is off has no counters."""
    field = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=1))
    ampere = {
        **H100,
        "RemappedRows": (1, 2, 1, 0),
        "RowRemapperHistogram": SimpleNamespace(none=3),
        "PcieReplayCounter": 7,
        "FieldValues": [field],
        "ComputeMode": 3,
        "PersistenceMode": 0,
        "PowerManagementLimitConstraints": [200_000, 700_000],
        "CudaComputeCapability": (9, 0),
        "NvLinkState": By({"0": 1, "1": 0}),
        "NvLinkErrorCounter": By({"0,0": 4, "0,1": 5, "0,2": 6, "0,3": 7}),
    }

    (gpu,), _ = nvml.gpus(Library(FakePynvml([ampere])))

    assert gpu.health is not None
    assert (gpu.health.remapped_uncorrected, gpu.health.remap_pending, gpu.health.remap_failed) == (2, True, False)
    assert (gpu.health.banks_exhausted, gpu.health.pcie_replays, gpu.health.recovery_action) == (3, 7, "gpu_reset")
    assert gpu.health.retired_pages is None
    assert gpu.settings is not None
    assert (gpu.settings.compute_mode, gpu.settings.persistence) == ("exclusive_process", False)
    assert (gpu.settings.power_most_w, gpu.settings.compute_capability) == (700.0, "9.0")
    assert gpu.nvlinks == (
        NvLink(index=0, active=True, replays=4, recoveries=5, crc_errors=13),
        NvLink(index=1, active=False),
    )


def test_a_reading_under_load_has_what_changes() -> None:
    """Milliwatts, percent, nanoseconds and kilobytes become SI; what is not there is None."""
    busy = {
        **H100,
        "ClockInfo": By({"1": 1755, "2": 2619}),
        "PowerUsage": 698_500,
        "UtilizationRates": SimpleNamespace(gpu=99, memory=40),
        "CurrentClocksThrottleReasons": 4,
        "TotalEnergyConsumption": 12_000,
        "ViolationStatus": By({"0": SimpleNamespace(violationTime=2_500_000_000)}),
        "PcieThroughput": By({"1": 1000}),
        "CurrPcieLinkGeneration": 5,
    }
    refusals: list[NvmlError] = []

    reading = Library(FakePynvml([busy])).reading(0, refusals)

    assert refusals == []
    assert (reading.sm_clock_hz, reading.memory_clock_hz, reading.power_w) == (1.755e9, 2.619e9, 698.5)
    assert (reading.busy_ratio, reading.memory_busy_ratio) == (0.99, 0.4)
    assert reading.reasons == {"sw_power_cap": 1.0}
    assert (reading.energy_j, reading.violations_s) == (12.0, {"power": 2.5})
    assert (reading.pcie_down_bytes_per_s, reading.pcie_up_bytes_per_s) == (1e6, None)
    assert (reading.margin_c, reading.memory_temperature_c, reading.nvlink_errors) == (None, None, None)


def test_events_come_from_one_set_and_end_with_none() -> None:
    """An XID with its number, another event by its kind, a GPU that is gone, then nothing in time."""
    kinds = {"SupportedEventTypes": pynvml.nvmlEventTypeXidCriticalError | pynvml.nvmlEventTypeDoubleBitEccError}
    module = FakePynvml([kinds, {}], events=[(0, 8, 79), (0, 2, 0), error(pynvml.NVML_ERROR_GPU_IS_LOST)])
    events = Library(module).events(lambda: 4.0)

    assert events.gpus == (0,)
    assert module.registered == {0: 10}
    assert events.next(0.0) == GpuEvent(at_s=4.0, gpu=0, kind="xid", xid=79)
    assert events.next(0.0) == GpuEvent(at_s=4.0, gpu=0, kind="ecc_double")
    assert events.next(0.0) == GpuEvent(at_s=4.0, gpu=None, kind="lost")
    assert events.next(0.0) is None
    events.close()
    assert module.registered == {}
