"""The CUDA programs we compare with: compiled for every architecture, and run on a CPU with faults planted in them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.bench.ground import PEERS, Peer, compiler, nvcc_command
from tests.gpu.bench.rows import PeerError
from tests.gpu_peers.built import DEVICE, NAMES, all_in_one, program

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
WORDS = {"babel": ("copy", "triad", "dot"), "copies": ("h2d", "d2h", "both"), "chase": ("walk",)}
NUMBERS = {"babel": (8 * 5000, 4), "copies": (1 << 14, 4, 1, 3), "chase": (1 << 14, 1000, 0, 3)}
each = pytest.mark.parametrize("name", NAMES)


def nvcc() -> str:
    """CUDA's compiler, or the test is skipped."""
    try:
        return compiler()
    except PeerError as error:
        pytest.skip(str(error))


def started(
    name: str, edit: Callable[[str, str], str] | None = None, *, numbers: tuple[int, ...] | None = None
) -> Peer:
    return Peer([str(program(name, edit)), "0", *map(str, numbers or NUMBERS[name])])


def test_every_program_is_known_to_the_tests() -> None:
    """A new one is compiled too."""
    assert sorted(path.stem for path in PEERS.glob("*.cu")) == list(NAMES)


def test_programs_compile_without_a_warning_for_every_architecture(tmp_path: Path) -> None:
    """By the command of `make gpu-bench` plus warnings as errors; what is built says when there is no GPU."""
    offered = subprocess.run([nvcc(), "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    codes = [number for number in ARCHITECTURES if f"sm_{number}" in offered]
    assert 90 in codes
    source, built = tmp_path / "all.cu", tmp_path / "copies"
    source.write_text(all_in_one())
    command = [word for word in nvcc_command(DEVICE, source, built) if word not in ("-arch=sm_90", "-O3")]
    # one pass of the language, and of the machine code one for each: no line asks which architecture it is for
    each_code = f"-gencode=arch=compute_75,code=[{','.join(f'sm_{number}' for number in codes)}]"

    done = subprocess.run(
        [*command, each_code, "-I", str(PEERS), "--threads", "2", "-Werror", "all-warnings"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    ran = subprocess.run(
        [built, "0", "4096", "1", "0", "1"], capture_output=True, text=True, check=False, input="h2d\n"
    )
    assert ran.returncode in (0, 3)
    assert ran.returncode == 0 or ran.stderr.startswith("cudaSetDevice(device): ")


def test_a_machine_without_nvcc_says_what_to_install(tmp_path: Path) -> None:
    """In one sentence."""
    with pytest.raises(PeerError, match="nvcc of the CUDA toolkit was not found"):
        compiler(str(tmp_path))


@each
def test_a_program_answers_every_word(name: str) -> None:
    """The device first, then a figure and its own check for each word, again and again."""
    peer = started(name)
    try:
        assert peer.about["device"] == "emulated"
        for word in 2 * WORDS[name]:
            answer = peer.ask(word)
            assert answer["best"] > 0
            assert answer["wrong"] == 0
    finally:
        peer.close()


def test_what_is_counted() -> None:
    """16 KiB a buffer, 4 copies: both ways count both, the measured stream one; a chase's bytes are whole nodes."""
    peer = started("copies")
    try:
        both = peer.ask("both")
    finally:
        peer.close()

    assert both["buffer_bytes"] == 1 << 14
    # one after the other on a CPU: the first stream ends before the second or with it
    assert both["value"] <= 2 * both["measured_stream"] * 1.001


#: program -> what is changed in its text; each word's own loop is hit
FAULTS = {
    "babel": {
        "if (i < n) c[i] = a[i];": "if (i < n && i != 77) c[i] = a[i];",
        "c[i] = a[i] + factor * b[i];": "c[i] = a[i] - factor * b[i];",
        "sum += a[i] * b[i];": "sum += a[i] * b[i] + (i == 9);",
    },
    "copies": {
        "link.host_source, link.bytes, cudaMemcpyHostToDevice, stream":
            "link.host_source, link.bytes - 8, cudaMemcpyHostToDevice, stream",
        "link.device_source, link.bytes, cudaMemcpyDeviceToHost, stream":
            "link.device_source, link.bytes - 8, cudaMemcpyDeviceToHost, stream",
    },
    "chase": {"for (Word k = 0; k < hops; k++)": "for (Word k = 1; k < hops; k++)"},
}  # fmt: skip


def planted(name: str, text: str) -> str:
    """A program's text with all of its faults."""
    for right, wrong in FAULTS[name].items():
        assert right in text
        text = text.replace(right, wrong)
    return text


@each
def test_a_program_that_computes_something_else_is_not_believed(name: str) -> None:
    """An element left out, a wrong sign, a sum too large, a word not copied, a hop too few: no figure."""
    for word in WORDS[name]:
        peer = started(name, planted)
        try:
            with pytest.raises(PeerError, match="not to be believed"):
                peer.ask(word)
        finally:
            peer.close()


def test_a_chase_through_the_first_level_warms_it_first() -> None:
    """A round beforehand in every sample, which the walk's end accounts for."""
    peer = started("chase", numbers=(1 << 14, 1000, 1, 3))
    try:
        assert peer.ask("walk")["size_bytes"] == 1 << 14
        assert peer.ask("walk")["wrong"] == 0
    finally:
        peer.close()


def test_a_program_that_ends_or_is_silent_says_why() -> None:
    """Its last words; no answer in time; a word it does not know."""
    with pytest.raises(PeerError, match=r"chase ended: cudaSetDevice\(device\): no such device"):
        Peer([str(program("chase")), "1", "4096", "1000", "0", "1"])
    with pytest.raises(PeerError, match="chase ended: usage: chase DEVICE"):
        Peer([str(program("chase")), "0", "many"])
    peer = started("chase")
    try:
        with pytest.raises(PeerError, match="chase ended: unknown word run"):
            peer.ask("run")
    finally:
        peer.close()
    silent = Peer([shutil.which("sh") or "sh", "-c", "echo '{}'; exec sleep 60"])
    try:
        with pytest.raises(PeerError, match="sh gave no answer within 0 s"):
            silent.ask("copy", patience_s=0.01)
    finally:
        silent.close()
