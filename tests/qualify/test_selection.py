"""`--device`: which GPU is measured, and that nobody sees another."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import gridmark
from kernels.cuda import device as cuda
from kernels.device import Device
from kernels.spec import Bench, UnsupportedError
from qualify import nvml, plan, run, session
from qualify.nvml import Library
from qualify.records import Gpu
from qualify.selection import Selection, SelectionError, choose, narrow
from qualify.telemetry import Counters, Sampler
from qualify.telemetry_gpu import GpuSampler
from tests.fake_machine import DEVICE
from tests.fake_pynvml import H100, FakePynvml
from tests.qualify import traces

ADDRESSES = ("0000:0a:00.0", "0000:1b:00.0", "0000:4c:00.0")
#: CUDA puts the fastest first, NVML goes by address
SHOWN = tuple(
    Device(kind="cuda", index=index, name=name, cpus=(0,), threads=1, pci_address=ADDRESSES[place])
    for index, (name, place) in enumerate([("H100", 1), ("H100", 2), ("T4", 0)])
)
NODE = traces.node(
    device_kind="cuda",
    gpus=tuple(
        Gpu(index=index, name=name, uuid=f"GPU-{index}", pci_address=address)
        for index, (name, address) in enumerate(zip(("T4", "H100", "H100"), ADDRESSES, strict=True))
    ),
)


def chosen(wanted: str, **environment: str) -> Selection:
    return choose(wanted, environment, find=lambda: SHOWN)


@pytest.mark.parametrize(
    ("wanted", "names", "visible", "indices"),
    [("cuda:0", ["H100"], "0", [1]), ("cuda:2", ["T4"], "2", [0]), ("cuda:1,0", ["H100", "H100"], "1,0", [2, 1])],
)
def test_named_gpus_are_all_there_is(wanted: str, names: list[str], visible: str, indices: list[int]) -> None:
    """A benchmark's process sees them alone, numbered from 0; the node has those of the same address."""
    found = chosen(wanted)

    assert [gpu.name for gpu in found.gpus] == names
    assert (found.device.index, found.device.pci_address) == (0, found.gpus[0].pci_address)
    assert found.environment == {"CUDA_VISIBLE_DEVICES": visible}
    assert [gpu.index for gpu in narrow(NODE, found.gpus).gpus] == indices


def test_numbers_are_those_of_the_gpus_that_this_process_may_see() -> None:
    """Of "GPU-x, 5, GPU-y" number 2 is GPU-y."""
    found = chosen("cuda:2,1", CUDA_VISIBLE_DEVICES="GPU-x, 5,GPU-y")

    assert found.environment == {"CUDA_VISIBLE_DEVICES": "GPU-y,5"}


@pytest.mark.parametrize("wanted", ["auto", "cpu", "cuda"])
def test_without_a_number_the_machine_is_as_it_is(wanted: str) -> None:
    """The first device of its kind; nothing is hidden and the node keeps all GPUs."""
    found = choose(wanted, {}, pick=lambda kind: (SHOWN[0],))

    assert found == Selection(device=SHOWN[0])
    assert narrow(NODE, found.gpus) is NODE


def test_a_gpu_that_is_not_there_is_told_with_those_that_are() -> None:
    """Number, name and address of each."""
    with pytest.raises(SelectionError) as refused:
        chosen("cuda:0,7")

    assert str(refused.value) == (
        "--device cuda:0,7: there is no GPU 7; CUDA shows 0 (H100 at 0000:1b:00.0), 1 (H100 at 0000:4c:00.0), "
        "2 (T4 at 0000:0a:00.0)"
    )
    with pytest.raises(SelectionError, match="names a GPU twice"):
        chosen("cuda:1,1")


def test_without_addresses_numbers_tell_gpus_apart() -> None:
    """An old library, or a GPU that does not answer."""
    bare = traces.node(device_kind="cuda", gpus=(Gpu(index=0), Gpu(index=1)))

    assert [gpu.index for gpu in narrow(bare, (SHOWN[1],)).gpus] == [1]


def test_a_gpu_that_the_driver_library_does_not_know_cannot_be_judged() -> None:
    """CUDA shows three, NVML two: the third has no record."""
    fewer = traces.node(device_kind="cuda", gpus=NODE.gpus[:2])

    with pytest.raises(UnsupportedError, match=r"GPU 1 \(H100 at 0000:4c:00.0\) is not among the 2 GPUs"):
        narrow(fewer, (SHOWN[1],))


def test_the_address_is_written_as_the_kernel_does() -> None:
    """NVML's domain has eight digits and its letters are large."""
    library = Library(FakePynvml([{**H100, "PciInfo": SimpleNamespace(busId=b"00000001:4C:00.0")}, H100]))

    assert [gpu.pci_address for gpu in nvml.gpus(library)[0]] == ["0001:4c:00.0", None]


def test_a_sampler_of_one_gpu_of_three_leaves_the_others_alone() -> None:
    """Its readings and the state at the end are those of number 2."""
    sampler = GpuSampler(Library(FakePynvml([H100, H100, H100])), [2])
    sampler.sample()

    (reading,) = sampler.drain()
    sampler.stop()

    assert reading.index == 2
    assert [gpu.index for gpu in sampler.after] == [2]


def test_the_process_of_a_benchmark_sees_the_chosen_gpus(tmp_path: Path) -> None:
    """Through the environment it is started with."""
    told = tmp_path / "visible"
    request = run.Request(
        node=narrow(NODE, chosen("cuda:2").gpus),
        started_unix_s=0.0,
        started_s=time.monotonic(),
        report_id="r",
        version="0",
        reference=traces.REFERENCE,
        workdir=tmp_path,
        seed=1,
        command=("sh", "-c", f'echo "$CUDA_VISIBLE_DEVICES" > {told}'),
        environment=chosen("cuda:2").environment,
        on_event=lambda event: None,
    )
    bench = Bench(name="memory", version=1, title="", keys={"cuda": ("memory.read",)}, open={})
    slot = plan.Slot(bench=bench, keys=("memory.read",), seconds=1.0)
    planned = plan.Plan(
        device=chosen("cuda:2").device, profile="quick", budget_s=2.0, slots=(slot,), waived={}, required=frozenset()
    )

    report = run.qualify(planned, request, Sampler(Counters))

    assert told.read_text() == "2\n"
    assert [gpu.name for gpu in report.node.gpus] == ["T4"]


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0,", "cpu:1", "CUDA:0", "cuda:0-2"])
def test_what_is_no_device_is_a_usage_error(device: str) -> None:
    """With what would be understood."""
    result = CliRunner().invoke(gridmark.cli, ["qualify", "--device", device], prog_name="gridmark")

    assert result.exit_code == 2
    assert "give auto, cpu, cuda, cuda:2 or cuda:0,2" in " ".join(result.stderr.split())


def test_a_gpu_that_is_not_there_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 and one sentence; where no GPU can be used at all it is 3."""
    monkeypatch.setattr(cuda, "find", lambda: SHOWN)
    missing = CliRunner().invoke(gridmark.cli, ["qualify", "--device", "cuda:3"], prog_name="gridmark")

    def none() -> tuple[Device, ...]:
        raise UnsupportedError("no GPU can be used: CUDA shows none")

    monkeypatch.setattr(cuda, "find", none)
    nothing = CliRunner().invoke(gridmark.cli, ["qualify", "--device", "cuda:0"], prog_name="gridmark")

    assert (missing.exit_code, nothing.exit_code) == (2, 3)
    assert "gridmark: --device cuda:3: there is no GPU 3; CUDA shows 0 (H100" in missing.stderr
    assert "CUDA shows none" in nothing.stderr


def test_a_kept_report_of_another_device_is_not_shown(machine: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """--if-older-than asks for a report of what is to be measured."""
    measured: list[str] = []
    whole = session.Session.qualify

    def counted(self: session.Session, **arguments: object) -> object:
        measured.append(self.options.device)
        return whole(self, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(session.Session, "qualify", counted)
    for device in ("auto", "auto", "cpu"):
        words = ["qualify", "--json", "--budget", "12", "--if-older-than", "24h", "--device", device]
        result = CliRunner().invoke(gridmark.cli, words, prog_name="gridmark")
        assert json.loads(result.stdout)["options"]["device"] == device

    assert measured == ["auto", "cpu"]
    assert DEVICE.kind == "cpu"
