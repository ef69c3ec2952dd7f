"""Rules about what the driver announced during the run, and about GPUs that do not answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule
from qualify.rule_gpu import each, health, hit, later
from qualify.xid import CATALOGUE

LOST = frozenset({"gpu_is_lost", "gpu_not_found"})
FALLEN = 79  #: the XID of a GPU that fell off the bus


def _xids(*kinds: str) -> Callable[[Evidence], Iterator[Hit]]:
    """A hit for each number of these kinds on each GPU."""

    def find(evidence: Evidence) -> Iterator[Hit]:
        seen = Counter((event.gpu, event.xid) for event in evidence.gpu_events if event.xid is not None)
        for (gpu, number), times in sorted(seen.items(), key=str):
            meaning = CATALOGUE.get(number)
            if number != FALLEN and meaning is not None and meaning.kind in kinds:
                where = "a GPU" if gpu is None else f"GPU {gpu}"
                yield Hit(
                    text=f"{where} raised XID {number}{f' {times} times' if times > 1 else ''}: {meaning.words}",
                    evidence={"gpu": gpu, "xid": number, "times": times},
                )

    return find


def xid_unknown(evidence: Evidence) -> Iterator[Hit]:
    """Numbers that NVIDIA's table does not explain."""
    for number in sorted({event.xid for event in evidence.gpu_events if event.xid is not None} - CATALOGUE.keys()):
        gpus: list[int] = sorted({e.gpu for e in evidence.gpu_events if e.xid == number and e.gpu is not None})
        yield Hit(
            text=f"XID {number}, which is not in NVIDIA's catalogue, was raised during the run",
            evidence={"xid": number, "gpus": ", ".join(map(str, gpus))},
        )


def fell_off(evidence: Evidence) -> Iterator[Hit]:
    """A GPU that was there is not any more."""
    gone = {event.gpu for event in evidence.gpu_events if event.xid == FALLEN or event.kind in ("lost", "unavailable")}
    for gpu in evidence.node.gpus:
        refused = LOST & {*gpu.refused, *later(evidence, gpu).refused}
        if refused or gpu.index in gone:
            gone -= {gpu.index, None}
            yield hit(gpu, "fell off the bus", reason=", ".join(sorted(refused)) or f"XID {FALLEN}")
    if None in gone:
        yield Hit(text="a GPU fell off the bus", evidence={"gpu": None, "reason": "the driver lost it"})


def reset_required(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """The driver wants the GPU reset, or the machine restarted."""
    after = later(evidence, gpu)
    action = health(after).recovery_action
    if "reset_required" in {*gpu.refused, *after.refused}:
        action = "gpu_reset"
    if action in (None, "none"):
        return None
    return hit(gpu, f"asks to be recovered: {str(action).replace('_', ' ')}", recovery_action=action)


def inforom(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """The board's own memory of its faults is damaged."""
    if "corrupted_inforom" not in {*gpu.refused, *later(evidence, gpu).refused}:
        return None
    return hit(gpu, "has a corrupt infoROM: its counters cannot be believed", reason="corrupted_inforom")


def power_missing(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """A cable is missing."""
    if "insufficient_power" not in {*gpu.refused, *later(evidence, gpu).refused}:
        return None
    return hit(gpu, "lacks a power cable", reason="insufficient_power")


def no_answer(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Questions refused for any other reason."""
    told = LOST | {"reset_required", "corrupted_inforom", "insufficient_power"}
    refused = {*gpu.refused, *later(evidence, gpu).refused} - told
    if not refused:
        return None
    return hit(gpu, f"did not answer: {', '.join(sorted(refused))}", reason=", ".join(sorted(refused)))


RULES = (
    Rule(
        code="GPU_XID_FATAL",
        severity="failure",
        fires="the driver announced a fault of a GPU that needs a reset or a repair",
        limit="none; NVIDIA's catalogue of XIDs, those answered by a reset or by support",
        remedy="Drain the node, reset the GPU, update driver and firmware; replace the board if it happens again.",
        find=_xids("fatal"),
    ),
    Rule(
        code="GPU_XID_MEMORY",
        severity="failure",
        fires="the driver announced a memory fault of a GPU",
        limit="none; XIDs 48, 64, 92, 94, 95, 140, 156, 157, 168, 171, 172",
        remedy="Reset the GPU; if it happens again, have the board replaced.",
        find=_xids("memory"),
    ),
    Rule(
        code="GPU_XID_THERMAL",
        severity="failure",
        fires="the driver announced that a GPU's power or thermal management failed",
        limit="none; XIDs 54 and 62",
        remedy="Check power cables, airflow and heat sinks, then reset the GPU.",
        find=_xids("thermal"),
    ),
    Rule(
        code="GPU_XID_LINK",
        severity="failure",
        fires="the driver announced a fault of a link between GPUs",
        limit="none; XIDs 74, 136, 144 to 150, 155, 166, 170",
        remedy="Reseat bridge or cable, restart the fabric manager, reset the GPUs of both ends.",
        find=_xids("link"),
    ),
    Rule(
        code="GPU_XID_APPLICATION",
        severity="warning",
        fires="the driver ended a program for an error of its own while we measured",
        limit="none; ours are correct, so it is another's program or a fault that looks like one",
        remedy="See who else uses the GPU; if nobody does, test its memory with --profile deep.",
        find=_xids("application"),
    ),
    Rule(
        code="GPU_XID_NOTICE",
        severity="info",
        fires="the driver announced something that needs no action by itself",
        limit="XIDs that NVIDIA's catalogue lets be ignored, or that follow another",
        remedy="Nothing to mend; read the other findings.",
        find=_xids("notice"),
    ),
    Rule(
        code="GPU_XID_UNKNOWN",
        severity="warning",
        fires="the driver announced an XID that is not in NVIDIA's catalogue",
        limit="none",
        remedy="Look the number up in the notes of the driver's release.",
        find=xid_unknown,
    ),
    Rule(
        code="GPU_FELL_OFF_BUS",
        severity="failure",
        fires="a GPU can no longer be reached",
        limit="XID 79, or NVML says that it is lost",
        remedy="Restart the machine; check seating, riser, power supply and heat.",
        find=fell_off,
    ),
    Rule(
        code="GPU_RESET_REQUIRED",
        severity="failure",
        fires="the driver asks for a GPU to be reset or for a restart",
        limit="any recovery action but none",
        remedy="Drain the node, then nvidia-smi -r or a restart, as the action says.",
        find=each(reset_required),
    ),
    Rule(
        code="GPU_INFOROM_CORRUPT",
        severity="warning",
        fires="the memory in which a board keeps its counters is damaged",
        limit="none",
        remedy="Update the driver; have the board replaced if it stays.",
        find=each(inforom),
    ),
    Rule(
        code="GPU_POWER_CABLE",
        severity="failure",
        fires="a power cable of a GPU is missing",
        limit="NVML: insufficient power",
        remedy="Connect every power socket of the board.",
        find=each(power_missing),
    ),
    Rule(
        code="GPU_NO_ANSWER",
        severity="warning",
        fires="a GPU did not answer a question it should answer",
        limit="none; what is merely not supported raises nothing",
        remedy="Read the reason; reload the driver or restart.",
        find=each(no_answer),
    ),
)
