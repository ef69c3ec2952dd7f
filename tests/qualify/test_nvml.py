"""What NVML says of GPUs becomes records: unsupported is None, absence has a reason."""

from __future__ import annotations

import sys

import pynvml
import pytest

from qualify import nvml
from qualify.nvml import Library, NvmlError
from qualify.records import Gpu
from tests.fake_pynvml import H100, RTX_4090, FakePynvml, error


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

    assert found[0] == Gpu(index=0)
    assert found[1].name == "NVIDIA H100 80GB HBM3"
    assert problems == ("GPU 0 did not answer 11 questions: GPU is lost.",)


def test_one_broken_question_leaves_the_others() -> None:
    """A corrupt infoROM spoils what it stores and nothing else."""
    broken = {**H100, "EccMode": error(pynvml.NVML_ERROR_CORRUPTED_INFOROM)}

    (gpu,), problems = nvml.gpus(Library(FakePynvml([broken])))

    assert gpu.ecc_enabled is None
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert problems == ("GPU 0 did not answer 1 question: Corrupted infoROM.",)


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
