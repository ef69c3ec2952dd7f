"""What lies between nodes' routes and the rules: whose a node is, how it proves its key, and which reports count."""

from __future__ import annotations

from fastapi import Request

from qualify import codec as reports
from qualify.records import Report
from qualify.reference import load as load_reference
from scheduler.clock import Now
from scheduler.market.listing import impossible, summarise
from scheduler.membership import check_machine
from scheduler.records import Account, MarketNode
from scheduler.store.errors import StoreError
from server import bodies, signing
from server.deps import Signed, target_of
from server.problems import ProblemError
from server.runtime import Runtime
from server.schemas.nodes import EnrolDocument

#: a report is taken this long after its run ended
REPORT_AGE_MOST_S = 3600.0
#: a run may have begun this long after now: two clocks that are kept differ by less
CLOCK_LEAVE_S = 5.0


def found(runtime: Runtime, node: int) -> MarketNode:
    """A node by its number.

    Raises:
        ProblemError: there is none.
    """
    known = runtime.book.nodes.get(node)
    if known is None:
        raise ProblemError("not-found", f"there is no node {node}")
    return known


def owns(account: Account | None, node: MarketNode) -> bool:
    """Whether somebody may see and do what is its supplier's business."""
    return account is not None and (account.role == "operator" or account.id == node.supplier)


def own(runtime: Runtime, account: Account, node: int) -> MarketNode:
    """A node of the account's own, or any for an operator.

    Raises:
        ProblemError: there is none; of another's no more is said.
    """
    known = runtime.book.nodes.get(node)
    if known is None or not owns(account, known):
        raise ProblemError("not-found", f"there is no node {node} of yours")
    return known


def prove_key(request: Request, runtime: Runtime, document: EnrolDocument, body: bytes) -> None:
    """Check that whoever enrols a key holds it: node, epoch and number of the signed text are whatever they are.

    Raises:
        ProblemError: it is signed with another key, or for an earlier run of the server.
    """
    claim = signing.claimed(request.headers)
    target, digest = target_of(request.scope), bodies.digest(body)
    if not signing.holds(document.public_key, claim, method=request.method, target=target, body_sha256=digest):
        raise ProblemError("bad-signature", "the request is not signed with the key it enrols")
    if claim.server_boot != runtime.server_boot:
        text = "the server has started anew; sign again with its boot number"
        raise ProblemError("server-restarted", text, more={"server_boot": runtime.server_boot})


async def take_report(runtime: Runtime, what: Signed, packed: bytes) -> MarketNode:
    """Let a report count: kept whole, its figures listed.

    Raises:
        ProblemError: it is none, too old, another machine's, or cannot be true; the last quarantines its node.
        Refused: the rules do not take it.
    """
    report = await runtime.read(_read, runtime, packed)
    node = found(runtime, what.node.id)
    _check_time(report, runtime.now())
    check_machine(node, report.node.id)
    why = await runtime.read(impossible, report, load_reference())
    if why is not None:
        await runtime.do(lambda control, now: control.disbelieve_report(node.id, report.id, why, now))
        raise ProblemError("invalid", f"the report cannot be true: {why}")
    summary = await runtime.read(summarise, report)

    await _keep(runtime, report)
    return await runtime.do(lambda control, now: control.accept_report(node.id, summary, now))


def _read(runtime: Runtime, packed: bytes) -> Report:
    limits = runtime.settings.limits
    try:
        return reports.loads(bodies.unpacked(packed, limits.report_bytes), max_bytes=limits.report_bytes)
    except reports.RecordError as error:
        raise ProblemError("invalid", f"this is no report: {bodies.without_quotes(error)}") from None


async def _keep(runtime: Runtime, report: Report) -> None:
    try:
        await runtime.read(runtime.files.put_report, report.id, reports.dumps(report).encode("ascii"))
    except StoreError as error:
        raise ProblemError("unavailable", "the report could not be stored", headers={"Retry-After": "5"}) from error


def _check_time(report: Report, now: Now) -> None:
    now_s = now.unix_ms / 1000
    ended_s = report.started_unix_s + report.lasted_s
    if ended_s > now_s + CLOCK_LEAVE_S:
        raise ProblemError("invalid", f"the report's run ends {ended_s - now_s:.0f} s from now; set the node's clock")
    if now_s - ended_s > REPORT_AGE_MOST_S:
        age_min = (now_s - ended_s) / 60
        raise ProblemError(
            "invalid", f"the report's run ended {age_min:.0f} min ago; at most 60 are taken: measure anew"
        )
