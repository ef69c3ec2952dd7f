"""scheduler.simulate.trace and generate: what a trace says, what is refused, and made-up ones like it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from scheduler.simulate import generate
from scheduler.simulate.trace import TraceError, TraceNode, TracePod, read_nodes, read_pods

NODES = "sn,cpu_milli,memory_mib,gpu,model\nb,64000,262144,2,P100\na,96000,393216,8,G2\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n"
    "p2,6000,12288,1,460,V100M32|V100M16,10,70\n"
    "p1,1000,1,8,1000,,5,5\n"
    "p0,1000,1,0,0,,,\n"
)


def laid(folder: Path, text: str) -> Path:
    """A file of it."""
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_nodes_are_read_by_name(tmp_path: Path) -> None:
    """Whatever their order in the file."""
    assert read_nodes(laid(tmp_path, NODES)) == (
        TraceNode(name="a", cpu_milli=96_000, memory_mib=393_216, gpus=8, model="G2"),
        TraceNode(name="b", cpu_milli=64_000, memory_mib=262_144, gpus=2, model="P100"),
    )


def test_pods_are_read_by_name_with_what_they_insist_on(tmp_path: Path) -> None:
    """A share, whole GPUs, none; times where they are told, at least a second."""
    assert read_pods(laid(tmp_path, PODS)) == (
        TracePod(name="p0", cpu_milli=1000, memory_mib=1, gpus=0, each_milli=0),
        TracePod(name="p1", cpu_milli=1000, memory_mib=1, gpus=8, each_milli=1000, lasts_s=1),
        TracePod(
            name="p2",
            cpu_milli=6000,
            memory_mib=12_288,
            gpus=1,
            each_milli=460,
            models=("V100M16", "V100M32"),
            lasts_s=60,
        ),
    )


def test_a_list_without_models_and_times_is_read(tmp_path: Path) -> None:
    """As some of openb's are."""
    (pod,) = read_pods(laid(tmp_path, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,1000\n"))

    assert (pod.models, pod.lasts_s) == ((), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column name or cpu_milli"),
        ("name,cpu_milli\n", "has no column memory_mib or num_gpu or gpu_milli; wanted are name, cpu_milli"),
        (f"{PODS}x,much,1,1,1000,,,\n", "line 5: cpu_milli is 'much', wanted a whole number"),
        (f"{PODS}x,-1,1,1,1000,,,\n", "line 5: cpu_milli is -1, wanted 0 to"),
        (f"{PODS}x,1,1,1,1001,,,\n", "line 5: gpu_milli is 1001, wanted 0 to 1000"),
        (f"{PODS}x,1,1,2,500,,,\n", "line 5: wants 500 thousandths of each of 2 GPUs; parts are of one GPU only"),
        (f"{PODS}x,1,1,1,0,,,\n", "line 5: wants a GPU, and nothing of it"),
        (f"{PODS}x,1,1,1,1000,A|,,\n", "line 5: '' is no name of a model"),
        (f"{PODS}x,1\n", "line 5: num_gpu is '', wanted a whole number"),
        (f"{PODS}x,1,1,1,1000,,now,9\n", "line 5: creation_time is 'now', wanted a whole number"),
        (PODS.splitlines()[0] + "\n", "lists no pod that wants GPUs"),
    ],
)
def test_what_is_no_list_of_pods_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """With the file, the line and what was wanted."""
    path = laid(tmp_path, text)

    with pytest.raises(TraceError) as refused:
        read_pods(path)

    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)


def test_what_cannot_be_read_at_all_is_refused_too(tmp_path: Path) -> None:
    """A folder, bytes, no nodes with GPUs."""
    (tmp_path / "bytes").write_bytes(b"sn,\xff\xfe\x00")

    for path, said in (
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path / "bytes", "is no table of comma-separated values"),
        (laid(tmp_path, "sn,cpu_milli,memory_mib,gpu,model\na,1,1,0,x\n"), "lists no node with GPUs"),
    ):
        with pytest.raises(TraceError, match=said):
            read_nodes(path)


def test_a_made_up_workload_has_the_trace_s_proportions() -> None:
    """Of 2,000 nodes and the jobs for them: 5.1 GPUs a node, half of the jobs one whole GPU, an eighth 0.81 of one."""
    draw = random.Random(3)
    nodes = generate.nodes(2000, draw)
    pods = generate.pods(nodes, draw, insisting=0.1)
    sizes = Counter((pod.gpus, pod.each_milli) for pod in pods)
    gpus = sum(node.gpus for node in nodes)

    assert gpus / len(nodes) == pytest.approx(5.12, rel=0.05)
    assert sizes[1, 1000] / len(pods) == pytest.approx(0.48, abs=0.02)
    assert sizes[1, 810] / len(pods) == pytest.approx(0.132, abs=0.015)
    assert sizes[0, 0] / len(pods) == pytest.approx(0.133, abs=0.015)
    assert sum(bool(pod.models) for pod in pods) / sum(bool(pod.gpus) for pod in pods) == pytest.approx(0.1, abs=0.02)
    assert 0 <= sum(pod.gpu_milli for pod in pods) - 1000 * gpus < 8000
    assert generate.nodes(5, random.Random(1)) == generate.nodes(5, random.Random(1))


def test_who_insists_on_a_model_finds_one_that_is_large_enough() -> None:
    """Eight GPUs are never asked of a model that has two."""
    draw = random.Random(4)
    nodes = generate.nodes(300, draw)
    has = {model: max(node.gpus for node in nodes if node.model == model) for model in {n.model for n in nodes}}

    for pod in generate.pods(nodes, draw, insisting=1.0):
        assert all(has[model] >= pod.gpus for model in pod.models)
        assert bool(pod.models) == bool(pod.gpus)
