"""Rules about a GPU's memory: errors, rows and pages taken out of service, ECC itself.

Limits after NVIDIA's "GPU Memory Error Management" and "Dynamic Page Retirement" guides.
"""

from __future__ import annotations

from qualify.records import Gpu, Severity
from qualify.rule import Evidence, Hit, Rule
from qualify.rule_gpu import each, health, hit, later, rise, settings

#: corrected errors in one run of some minutes: a healthy board has a few a month
CORRECTED_IN_RUN = 100
#: single- and double-bit retirements together: 64 is all the infoROM holds, NVIDIA takes a board back from 60 on
PAGES_WARNING, PAGES_FAILURE = 10, 60


def ecc_uncorrected(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Data were lost since the driver was loaded."""
    after = later(evidence, gpu).ecc_uncorrected
    worst = max((count for count in (gpu.ecc_uncorrected, after) if count is not None), default=0)
    if not worst:
        return None
    risen = rise(gpu.ecc_uncorrected, after)
    words = f"has {worst} uncorrected memory errors" + (f", {risen} of them during this run" if risen else "")
    return hit(gpu, words, before=gpu.ecc_uncorrected, after=after, limit=0)


def ecc_history(_: Evidence, gpu: Gpu) -> Hit | None:
    """Data were lost in its past."""
    ever = health(gpu).ecc_uncorrected_ever
    if not ever or gpu.ecc_uncorrected:
        return None
    return hit(
        gpu, f"has had {ever} uncorrected memory errors in its life, none since the driver was loaded", ever=ever
    )


def ecc_storm(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Many corrected errors in a short time: a cell or a link is going."""
    risen = rise(health(gpu).ecc_corrected, health(later(evidence, gpu)).ecc_corrected)
    if risen <= CORRECTED_IN_RUN:
        return None
    return hit(gpu, f"corrected {risen} memory errors during this run", corrected=risen, limit=CORRECTED_IN_RUN)


def ecc_off(_: Evidence, gpu: Gpu) -> Hit | None:
    """It could correct errors and does not."""
    return hit(gpu, "runs without ECC", ecc_enabled=False) if gpu.ecc_enabled is False else None


def ecc_pending(_: Evidence, gpu: Gpu) -> Hit | None:
    """The mode changes at the next reset, and with it memory and bandwidth."""
    pending = settings(gpu).ecc_pending
    if gpu.ecc_enabled is None or pending is None or gpu.ecc_enabled == pending:
        return None
    return hit(
        gpu, f"will have ECC {'on' if pending else 'off'} after its next reset", now=gpu.ecc_enabled, then=pending
    )


def remap_pending(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """A bad row is still in use until the GPU is reset."""
    if not health(later(evidence, gpu)).remap_pending:
        return None
    return hit(gpu, "has a bad memory row that is replaced only by a reset", remap_pending=True)


def remap_failed(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """A bad row could not be replaced."""
    if not health(later(evidence, gpu)).remap_failed:
        return None
    return hit(gpu, "could not replace a bad memory row", remap_failed=True)


def rows_remapped(_: Evidence, gpu: Gpu) -> Hit | None:
    """Rows were replaced after data were lost: it works, and is worth knowing."""
    rows = health(gpu).remapped_uncorrected
    return hit(gpu, f"has replaced {rows} memory rows after uncorrected errors", rows=rows) if rows else None


def spare_rows_gone(_: Evidence, gpu: Gpu) -> Hit | None:
    """The next bad row of that bank cannot be replaced."""
    banks = health(gpu).banks_exhausted
    return hit(gpu, f"has {banks} memory banks without a spare row", banks=banks, limit=0) if banks else None


def pages_retired(_: Evidence, gpu: Gpu) -> Hit | None:
    """Boards before Ampere take pages out of use."""
    pages = health(gpu).retired_pages
    if pages is None or pages < PAGES_WARNING:
        return None
    severity: Severity = "failure" if pages >= PAGES_FAILURE else "warning"
    return hit(gpu, f"has retired {pages} memory pages", severity=severity, pages=pages, limit=PAGES_WARNING)


def retirement_pending(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """A bad page is still in use until the next start."""
    if not health(later(evidence, gpu)).retirement_pending:
        return None
    return hit(gpu, "has a bad memory page that is retired only by a restart", retirement_pending=True)


RULES = (
    Rule(
        code="GPU_ECC_UNCORRECTED",
        severity="failure",
        fires="a GPU lost data in its memory since the driver was loaded",
        limit="none, before and after the run",
        remedy="Drain the node and reset the GPU; if it happens again, have the board replaced.",
        find=each(ecc_uncorrected),
    ),
    Rule(
        code="GPU_ECC_HISTORY",
        severity="info",
        fires="a GPU lost data in its past",
        limit="any in its life, none since the driver was loaded",
        remedy="Nothing to mend now; replace it if it happens again.",
        find=each(ecc_history),
    ),
    Rule(
        code="GPU_ECC_STORM",
        severity="warning",
        fires="a GPU corrected many memory errors during the run",
        limit=f"more than {CORRECTED_IN_RUN}; a healthy board has a few a month",
        remedy="Check its cooling and seating; have the board replaced if it goes on.",
        find=each(ecc_storm),
    ),
    Rule(
        code="GPU_ECC_OFF",
        severity="warning",
        fires="a GPU that has ECC runs without it",
        limit="off where the board supports it",
        remedy="nvidia-smi -e 1, then reset the GPU.",
        find=each(ecc_off),
    ),
    Rule(
        code="GPU_ECC_PENDING",
        severity="info",
        fires="ECC will be switched by the next reset",
        limit="the pending mode differs from the current one",
        remedy="Reset the GPU and measure again, or figures will change at the next start.",
        find=each(ecc_pending),
    ),
    Rule(
        code="GPU_REMAP_PENDING",
        severity="failure",
        fires="a bad row of a GPU's memory waits for a reset to be replaced",
        limit="none",
        remedy="Drain the node and reset the GPU: nvidia-smi -r.",
        find=each(remap_pending),
    ),
    Rule(
        code="GPU_REMAP_FAILED",
        severity="failure",
        fires="a bad row of a GPU's memory could not be replaced",
        limit="none; NVIDIA takes such a board back",
        remedy="Take the GPU out of service and have the board replaced.",
        find=each(remap_failed),
    ),
    Rule(
        code="GPU_ROWS_REMAPPED",
        severity="info",
        fires="a GPU has replaced rows after losing data",
        limit="any; the replaced rows are as good as others",
        remedy="Nothing to mend; look whether the number grows.",
        find=each(rows_remapped),
    ),
    Rule(
        code="GPU_SPARE_ROWS_GONE",
        severity="failure",
        fires="a bank of a GPU's memory has no spare row left",
        limit="none; the next bad row there cannot be replaced",
        remedy="Have the board replaced.",
        find=each(spare_rows_gone),
    ),
    Rule(
        code="GPU_PAGES_RETIRED",
        severity="failure",
        fires="a GPU before Ampere has retired memory pages",
        limit=f"{PAGES_WARNING} are a warning, {PAGES_FAILURE} of the 64 that can be are a failure",
        remedy="Plan to have the board replaced.",
        find=each(pages_retired),
    ),
    Rule(
        code="GPU_RETIREMENT_PENDING",
        severity="failure",
        fires="a bad page of a GPU's memory waits for a restart to be retired",
        limit="none",
        remedy="Drain the node, then reset the GPU or restart the machine.",
        find=each(retirement_pending),
    ),
)
