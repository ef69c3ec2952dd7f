"""Who uses how much of the market, and how much each may: what the order of the line and the limits go by.

The line is shared by weighted dominant resource fairness (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011;
Mesos, YARN and Kueue order by the same figure): next is a job of the account whose dominant share, the largest part it
holds of any one resource, is smallest by its weight. It goes by what is held now, not by what was used: who ran alone
all night took nothing from anybody, and has paid for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scheduler.book import Book, Row
from scheduler.lifecycle import Standing, is_ended, is_live
from scheduler.records import Account, Attempt, Job, MarketNode, Resources

_WORKS = (Standing.READY, Standing.DEGRADED)
#: amounts of GPUs and CPUs (thousandths), memory and disk (bytes)
Amounts = tuple[int, int, int, int]
NOTHING: Amounts = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one account may take, unless its own row says otherwise; None = as much as there is."""

    jobs: int | None = None  #: not yet ended
    gpu_milli: int | None = None  #: held at once
    cpu_milli: int | None = None  #: held at once


class Shares:
    """Follows the book: what each account holds, and what there is."""

    def __init__(self, book: Book, quota: Quota) -> None:
        self._book, self._quota = book, quota
        self._limits = quota.gpu_milli is not None or quota.cpu_milli is not None
        self._held: dict[int, Amounts] = {}  #: by account
        self._unended: Counter[int] = Counter()  #: jobs, by account
        self._owner_of: dict[int, int] = {}  #: of live tokens
        self._there: Amounts = NOTHING  #: of nodes that take work
        self.version = 0  #: raised when every account's share may have changed

    def changed(self, before: Row | None, after: Row | None) -> int | None:
        """A row of the book was added, replaced, or its addition undone.

        Returns:
            The account that holds more or less now, or has other terms; None = none.
        """
        row = after if after is not None else before
        if isinstance(row, Attempt):
            was, is_ = _holds(before), _holds(after)
            return None if was == is_ else self._attempt_changed(row, begins=is_)
        if isinstance(row, Job):
            was, is_ = _is_unended(before), _is_unended(after)
            if was != is_:
                self._unended[row.owner] += is_ - was
        elif isinstance(row, MarketNode):
            less, more = _offered(before), _offered(after)
            if less != more:
                self._there = _sum(self._there, more, less)
                self.version += 1
        elif isinstance(before, Account) and isinstance(after, Account) and _terms(before) != _terms(after):
            return after.id
        return None

    def share(self, account: int) -> float:
        """Its dominant share by its weight; 0 = it holds nothing."""
        held = self._held.get(account, NOTHING)
        if held == NOTHING:
            return 0.0
        dominant = 0.0
        for mine, there in zip(held, self._there, strict=True):
            if mine > 0:
                part = mine / there if mine < there else 1.0  # nodes that are silent keep their jobs for a while
                if part > dominant:
                    dominant = part
        row = self._book.accounts.get(account)
        return dominant * 1000 / (1000 if row is None else row.weight_milli)

    def unended(self, account: int) -> int:
        """How many of its jobs have not ended."""
        return self._unended[account]

    def quota_of(self, account: int) -> Quota:
        """Its limits."""
        row, usual = self._book.accounts.get(account), self._quota
        if row is None:
            return usual
        return Quota(
            jobs=usual.jobs if row.jobs_max is None else row.jobs_max,
            gpu_milli=usual.gpu_milli if row.gpu_milli_max is None else row.gpu_milli_max,
            cpu_milli=usual.cpu_milli if row.cpu_milli_max is None else row.cpu_milli_max,
        )

    def too_large(self, account: int, wanted: Resources) -> str:
        """Why an account can never have these resources; "" = it can."""
        quota = self.quota_of(account)
        for what, limit, asked in _limited(quota, wanted):
            if limit is not None and asked > limit:
                return f"the job asks for {_count(asked, what)}, and the account may use {_count(limit, what)} at once"
        return ""

    def objection(self, account: int, wanted: Resources) -> str:
        """Why an account has to wait for these resources until some of its own are free; "" = it need not."""
        row = self._book.accounts.get(account)
        if not self._limits and (row is None or row.gpu_milli_max is row.cpu_milli_max is None):
            return ""
        quota = self.quota_of(account)
        held = self._held.get(account, NOTHING)
        for (what, limit, asked), mine in zip(_limited(quota, wanted), held, strict=False):
            if limit is not None and asked and mine + asked > limit:
                return (
                    f"the account uses {_count(mine, what)} of the {_count(limit, what)} it may use at once, "
                    f"and the job asks for {_count(asked, what)}"
                )
        return ""

    def _attempt_changed(self, attempt: Attempt, *, begins: bool) -> int:
        taken = attempt.resources
        amounts = (_gpu_milli(taken), taken.cpu_milli, taken.memory_bytes, taken.disk_bytes)
        if begins:
            owner = self._owner_of[attempt.token] = self._book.jobs[attempt.job].owner
            self._held[owner] = _sum(self._held.get(owner, NOTHING), amounts, NOTHING)
        else:
            owner = self._owner_of.pop(attempt.token)
            self._held[owner] = _sum(self._held[owner], NOTHING, amounts)
        return owner


def _holds(row: Row | None) -> bool:
    return isinstance(row, Attempt) and is_live(row.state)


def _is_unended(row: Row | None) -> bool:
    return isinstance(row, Job) and not is_ended(row.state)


def _sum(amounts: Amounts, more: Amounts, less: Amounts) -> Amounts:
    return (
        amounts[0] + more[0] - less[0],
        amounts[1] + more[1] - less[1],
        amounts[2] + more[2] - less[2],
        amounts[3] + more[3] - less[3],
    )


def _offered(row: Row | None) -> Amounts:
    """What a node brings to the market."""
    if not isinstance(row, MarketNode) or not row.online or row.standing not in _WORKS:
        return NOTHING
    has = row.capacity
    return (sum(has.gpu_milli), has.cpu_milli, has.memory_bytes, has.disk_bytes)


def _gpu_milli(resources: Resources) -> int:
    return resources.gpu_milli or resources.gpus * 1000


def _limited(quota: Quota, wanted: Resources) -> tuple[tuple[str, int | None, int], ...]:
    """What is limited, its limit, and how much is asked for; in the order of `Amounts`."""
    return ("GPU", quota.gpu_milli, _gpu_milli(wanted)), ("CPU", quota.cpu_milli, wanted.cpu_milli)


def _count(milli: int, what: str) -> str:
    return f"{milli / 1000:g} {what}{'' if milli == 1000 else 's'}"


def _terms(row: Account) -> tuple[int | None, ...]:
    return (row.weight_milli, row.jobs_max, row.gpu_milli_max, row.cpu_milli_max)
