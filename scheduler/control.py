"""The one owner of changing state: every command of the market, as pure rules over the book.

No SQL, no HTTP, no thread and no clock in here: the writer calls a method with the time, commits the book's changes
and only then answers. A method that raises `Refused` may have changed the book; the writer undoes it to its mark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scheduler import admission, dispatch, membership, progress
from scheduler.book import Book
from scheduler.clock import Now
from scheduler.desk import ControlSettings, Desk, Refused, Touched
from scheduler.expiry import Watchman
from scheduler.lifecycle import Standing
from scheduler.outage import Outage
from scheduler.placement.place import Placer
from scheduler.preemption import Preemption
from scheduler.proofs import due, outcome
from scheduler.proofs.outcome import Finding
from scheduler.proofs.rows import Challenge, ChallengeState
from scheduler.records import Account, Job, JobSpec, MarketNode, Role
from scheduler.wire import SyncAnswer, SyncRequest

if TYPE_CHECKING:
    from scheduler.market.listing import ReportSummary

__all__ = ["Control", "ControlSettings", "Refused", "Touched"]


class Control:
    """The market's rules; one thread owns it together with its book.

    Args:
        book: loaded already; online nodes in it get a whole lease from the first tick on.
        random: uniform in [0, 1).
    """

    def __init__(
        self, book: Book, placer: Placer, *, random: Callable[[], float], settings: ControlSettings | None = None
    ) -> None:
        self.book = book
        self._placer = placer
        self._desk = Desk(book, random=random, settings=settings or ControlSettings())
        self._watchman = Watchman(self._desk)
        self._preemption = Preemption(self._desk, placer)

    def create_account(self, name: str, role: Role, token_sha256: str, now: Now, *, actor: str = "server") -> Account:
        """A new account; its name and its token are nobody else's."""
        return admission.create_account(self._desk, name, role, token_sha256, now, actor)

    def revoke_account(self, account: int, now: Now, *, actor: str = "server") -> Account:
        """Its token opens nothing any more; its jobs and nodes stay."""
        return admission.revoke_account(self._desk, account, now, actor)

    def set_terms(self, account: int, terms: admission.Terms, now: Now, *, actor: str = "server") -> Account:
        """Give an account other limits and another weight in its turn."""
        return admission.set_terms(self._desk, account, terms, now, actor)

    def submit(self, owner: int, spec: JobSpec, key: str, now: Now) -> Job:
        """A new job. Whether (owner, key) is known already the caller has looked up in the store."""
        return admission.submit(self._desk, owner, spec, key, now)

    def cancel(self, job: int, actor: str, now: Now) -> Job:
        """End a job: at once while nothing of it runs, else when its node says that it has ended."""
        return admission.cancel(self._desk, job, actor, now)

    def enrol(
        self,
        supplier: int,
        *,
        name: str,
        public_key: str,
        price_uh: int,
        region: str,
        executors: tuple[str, ...],
        shares_gpus: bool,
        now: Now,
    ) -> MarketNode:
        """A node under a key of its own, to be measured; a known key gets the new terms and keeps its id."""
        terms = {
            "name": name,
            "price_uh": price_uh,
            "region": region,
            "executors": executors,
            "shares_gpus": shares_gpus,
        }
        return membership.enrol(self._desk, supplier, public_key, terms, now)

    def register(self, node: int, epoch: int, boot_id: str, now: Now) -> MarketNode:
        """An agent begins: the epoch rises by 1; another boot id than before ends every attempt of the node."""
        self._check_served(node)
        return membership.register(self._desk, node, epoch, boot_id, now)

    def sync(self, node: int, epoch: int, request: SyncRequest, now: Now) -> SyncAnswer:
        """Take in what an agent tells, renew its lease, and say what is wanted of it."""
        found = self._check_agent(node, epoch)
        if request.boot_id != found.boot_id:
            raise Refused("stale_epoch", f"node {node} started anew: it has to register first")
        return progress.sync(self._desk, found, request, now)

    def answer(self, node: int, epoch: int, now: Now) -> SyncAnswer:
        """What is wanted of a node now, for a sync that was held back; its lease is not renewed."""
        self._check_agent(node, epoch)
        return progress.answer(self._desk, node, now)

    def has_news(self, node: int, answer: SyncAnswer) -> bool:
        """Whether `answer` asks for anything beyond going on; one that does not may be held back."""
        return progress.has_news(self._desk, node, answer)

    def accept_report(self, node: int, summary: ReportSummary, now: Now) -> MarketNode:
        """Take over what a report says: standing, capacity, figures, and when it is to be measured again."""
        return membership.accept_report(self._desk, node, summary, now)

    def disbelieve_report(self, node: int, report: str, why: str, now: Now) -> MarketNode:
        """A report that cannot be true quarantines its node."""
        return membership.disbelieve_report(self._desk, node, report, why, now)

    def drain(self, node: int, on: bool, actor: str, now: Now) -> MarketNode:
        """Give a node no new work, or some again; what runs there runs on."""
        return admission.drain(self._desk, node, now, actor, on=on)

    def retire(self, node: int, actor: str, now: Now, *, force: bool = False) -> MarketNode:
        """Take an idle node out for good; with `force` one that works, whose jobs go elsewhere."""
        return admission.retire(self._desk, node, now, actor, force=force)

    def ask_qualify(self, node: int, actor: str, now: Now) -> MarketNode:
        """Have a node measured as soon as it is idle."""
        return admission.ask_qualify(self._desk, node, now, actor)

    def save_checkpoint(self, token: int, sha256: str, now: Now, *, node: int | None = None) -> Job:
        """What the job's next attempt begins from; refused unless `token` is live (and on `node`)."""
        return admission.save_checkpoint(self._desk, token, sha256, now, node)

    def issue_challenge(self, node: int, epoch: int, now: Now, draw: Callable[[int], bytes]) -> Challenge | None:
        """A fresh challenge for a node that has to prove itself now, else None.

        Args:
            draw: as many bytes as asked for, that nobody can guess.
        """
        self._check_agent(node, epoch)
        return due.issue(self._desk, node, now, draw)

    def advance_challenge(self, challenge: str, node: int, state: ChallengeState, now: Now) -> Challenge:
        """A challenge goes on to its next state; each is entered once."""
        return due.advance(self._desk, challenge, node, state, now)

    def settle_challenge(self, challenge: str, node: int, finding: Finding, now: Now) -> Challenge:
        """End a challenge with what came of it: evidence, what is listed of the node, whether it gets work."""
        return outcome.settle(self._desk, challenge, node, finding, now)

    def tick(self, now: Now) -> None:
        """Do what time alone brings about."""
        self._watchman.tick(now)

    def dispatch(self, now: Now, limit: int = 512) -> int:
        """Place queued jobs, accounts taking turns, at most `limit` tries. Returns how many were placed."""
        return dispatch.dispatch(self._desk, self._placer, self._preemption, now, limit)

    @property
    def outage(self) -> Outage | None:
        """The mass outage under way: so many nodes are silent that their jobs wait for them; None = there is none."""
        return self._watchman.outage

    def touched(self) -> Touched:
        """Whom the changes since the last call concern."""
        return self._desk.touched()

    def _check_agent(self, node: int, epoch: int) -> MarketNode:
        found = self._check_served(node)
        membership.check_epoch(found, epoch)
        return found

    def _check_served(self, node: int) -> MarketNode:
        """A node that may speak: any but a retired one that has nothing to end any more."""
        found = self._desk.node(node)
        if found.standing is Standing.RETIRED and not self.book.tokens_of_node.get(node):
            raise Refused("forbidden", f"node {node} is retired")
        return found
