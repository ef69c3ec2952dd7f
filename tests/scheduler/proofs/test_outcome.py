"""What comes of challenges: each of the seven outcomes has its effect, and no other."""

from __future__ import annotations

import pytest

from qualify.proof import evidence
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY
from scheduler.control import Refused
from scheduler.lifecycle import Standing
from scheduler.proofs.evidence import plain, rebuild
from scheduler.proofs.outcome import Finding
from scheduler.proofs.rows import NO_ENTRY, ChallengeState, EvidenceEntry
from scheduler.records import NodeFigure
from tests.scheduler.market_floor import summary
from tests.scheduler.proofs.floor import DAY_MS, GB, TRUE, ProvingFloor, judged

HOUR_MS, MINUTE_MS = 3_600_000, 60_000


def test_a_node_that_proves_what_it_claims_is_listed_as_proved() -> None:
    """Its figures stand beside its claims, which are left as they are."""
    floor = ProvingFloor()
    floor.go_through({INT8: 2e18, BF16: 1e15, MEMORY: 160.0 * GB, BANDWIDTH: 1e13})

    assert floor.proof.proved_ms == floor.now.unix_ms
    assert floor.row.figures["proved.int8_ops_per_s"].value == 2e18
    assert floor.row.figures["matmul.int8"].value == 1000e12
    assert floor.row.vram_bytes == 80 * GB
    assert (floor.proof.claims, floor.row.standing) == ({}, Standing.READY)


def test_history_is_of_what_was_listed() -> None:
    """Not of bf16 that was made of int8: that is no course of the card's bf16."""
    floor = ProvingFloor()
    seen: list[NodeFigure] = []
    original = floor.commit

    def commit() -> None:
        seen.extend(one.after for one in floor.book.pending if isinstance(one.after, NodeFigure))
        original()

    floor.commit = commit  # type: ignore[method-assign]
    floor.go_through({**TRUE, BF16: 2000e12})

    assert {one.figure.value for one in seen if one.metric == BF16} == {1000e12}
    assert {one.figure.value for one in seen if one.metric == INT8} == {TRUE[INT8]}


def test_below_its_floor_a_node_is_listed_with_what_it_proved() -> None:
    """No fine, no bar: the claim is cut, and lifted again by a better proof."""
    floor = ProvingFloor()
    slow = TRUE | {BF16: 400e12}
    floor.go_through(slow, lambda one: "below_floor" if '"bf16"' in one.document else "pass")
    cut = floor.row
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    floor.go_through()

    assert (cut.figures["matmul.bf16"].value, cut.figures["matmul.bf16"].high) == (200e12, 200e12)
    assert cut.proof.claims["matmul.bf16"].value == 500e12
    assert (cut.standing, cut.proof.bar, cut.proof.failed_ms) == (Standing.READY, "", ())
    assert floor.row.figures["matmul.bf16"].value == 500e12
    assert floor.proof.claims == {}


def test_after_a_cold_start_one_challenge_is_given_again_and_no_more() -> None:
    """The first that falls short; the check goes on with the second's outcome, whatever that is."""
    floor = ProvingFloor()
    phases = [one.phase for one in floor.go_through(TRUE, lambda _: "below_floor")]
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    again = [one.phase for one in floor.go_through(TRUE, lambda _: "below_floor")]

    assert phases == [0, 0, 1, 2, 3, 4]
    assert again == [0, 1, 2]


def test_a_proven_lie_is_for_good() -> None:
    """Retired, its key banned, what it had proved taken back, its jobs placed elsewhere."""
    floor = ProvingFloor()
    floor.go_through()
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    challenge = floor.issued()
    job = floor.submit()
    floor.settle(challenge, judged(challenge, "cheat_proven", {}))

    assert floor.row.standing is Standing.RETIRED
    assert not any(key.startswith("proved.") for key in floor.row.figures)
    assert floor.attempt(job).ended_ms is not None
    with pytest.raises(Refused, match="this key is banned: so it was") as refused:
        floor.enrol(public_key=floor.row.public_key)
    assert refused.value.kind == "forbidden"
    with pytest.raises(Refused, match="is retired"):
        floor.issue()


def test_a_wrong_answer_among_right_ones_quarantines_until_a_check_is_gone_through() -> None:
    """A fault of its hardware, once; a new report does not lift it."""
    floor = ProvingFloor()
    floor.go_through()
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    floor.end("hardware_corruption")
    barred = floor.row
    floor.report("r2")
    still = floor.row.standing
    done = floor.go_through()

    assert (barred.standing, barred.proof.bar, barred.proof.proved_ms) == (Standing.QUARANTINED, "corruption", None)
    assert still is Standing.QUARANTINED
    assert {one.level for one in done} == {"full"}
    assert (floor.row.standing, floor.row.why, floor.proof.bar) == (Standing.READY, "", "")


def test_the_second_wrong_answer_is_a_lie() -> None:
    """Whatever lies between the two; a liar has one try at being lucky."""
    floor = ProvingFloor()
    floor.end("hardware_corruption")
    floor.go_through()
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    done = floor.end("hardware_corruption")

    assert done.outcome == "cheat_proven"
    assert floor.row.standing is Standing.RETIRED
    assert floor.proof.bar == "cheat"


def test_a_protocol_error_is_forgiven_once_and_counted_then() -> None:
    """The challenge is over either way; the next has fresh nonces."""
    floor = ProvingFloor()
    floor.settle(floor.issued(), Finding(outcome="protocol_error", why="a list was expected"))
    forgiven = floor.proof
    floor.settle(floor.issued(), Finding(outcome="protocol_error", why="again"))

    assert (forgiven.failed_ms, forgiven.misses) == ((), 0)
    assert (floor.proof.failed_ms, floor.proof.misses) == ((floor.now.unix_ms,), 1)


def test_nonsense_is_not_forgiven_once_the_rows_are_known() -> None:
    """Else who skipped the ones that were drawn would say anything but the truth, and draw again for nothing."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.advance(challenge, ChallengeState.USED, ChallengeState.ASKED, ChallengeState.ANSWERED)
    floor.settle(challenge, judged(challenge, "protocol_error", {}))

    assert floor.proof.failed_ms == (floor.now.unix_ms,)


def test_after_three_failures_in_a_row_a_node_is_benched_flat() -> None:
    """Twelve hours without work and without challenges, then as before."""
    floor = ProvingFloor(attempts=99)
    for _ in range(3):
        challenge = floor.issued()
        floor.settle(challenge, Finding(outcome="unreachable", why="silent"))
    benched, asked = floor.row, floor.issue()
    until_ms = benched.proof.barred_until_ms or 0
    floor.clock.forward(until_ms - floor.now.unix_ms)
    floor.control.tick(floor.now)
    floor.sync(floor.id)

    assert (benched.standing, benched.proof.bar) == (Standing.QUARANTINED, "bench")
    assert until_ms == floor.now.unix_ms
    assert asked is None
    assert floor.row.standing is Standing.READY
    assert floor.issue() is not None


def test_no_more_than_three_attempts_fail_in_a_day() -> None:
    """With answers in between, so that it is not benched; more tries would be more luck."""
    floor = ProvingFloor()
    for _ in range(3):
        floor.end("pass")
        floor.settle(floor.issued(), Finding(outcome="unreachable"))
    refused = floor.issue()
    floor.clock.forward(DAY_MS)
    floor.sync(floor.id)

    assert refused is None
    assert floor.proof.bar == ""
    assert floor.issue() is not None


def test_what_the_server_could_not_do_costs_nobody_anything() -> None:
    """No bar, no failure; what was proved only grows old, and it is tried again later."""
    floor = ProvingFloor()
    floor.go_through()
    proved = floor.row.figures
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    floor.settle(floor.issued(), Finding(outcome="could_not_run", why="no process could be started"))

    assert floor.row.figures == proved
    assert (floor.row.standing, floor.proof.failed_ms, floor.proof.misses) == (Standing.READY, (), 0)
    assert floor.issue() is None
    floor.clock.forward(10 * MINUTE_MS)
    floor.sync(floor.id)
    assert floor.issue() is not None


@pytest.mark.parametrize("asked", [False, True], ids=["before the rows were drawn", "afterwards"])
@pytest.mark.parametrize("excuse", ["work", "offline", "a new registration", "none"])
def test_silence_has_an_excuse_unless_the_rows_are_known(excuse: str, asked: bool) -> None:
    """Who knows which rows are drawn must not get away by going away."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.advance(challenge, *([ChallengeState.USED, ChallengeState.ASKED] if asked else [ChallengeState.USED]))
    match excuse:
        case "work":
            floor.says(floor.submit(), "exited", 0)
        case "a new registration":
            floor.control.register(floor.id, floor.row.epoch, "boot-1", floor.now)
            floor.sync(floor.id)
    while floor.now.unix_ms < challenge.expires_ms + 5_000:
        floor.clock.forward(2_000)
        if excuse != "offline":
            floor.sync(floor.id)
        floor.control.tick(floor.now)
    harmless = excuse != "none" and not asked

    assert floor.proof.challenge is None
    assert floor.proof.outcome == ("could_not_run" if harmless else "unreachable")
    assert floor.proof.misses == (0 if harmless else 1)


def test_work_ends_a_challenge_at_once_and_another_follows_in_a_minute() -> None:
    """Nobody waits for what the node has dropped."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.advance(challenge, ChallengeState.USED)
    floor.says(floor.submit(), "exited", 0)
    floor.control.tick(floor.now)

    assert (floor.proof.challenge, floor.proof.why) == (None, "it was given work")
    assert floor.issue() is None
    floor.clock.forward(MINUTE_MS)
    floor.sync(floor.id)
    assert floor.issue() is not None


def test_an_answer_that_waits_for_its_verdict_is_not_silence() -> None:
    """The server may have much to judge; what it never gets to is its own fault."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.advance(challenge, ChallengeState.USED, ChallengeState.ASKED, ChallengeState.ANSWERED)
    floor.clock.forward(challenge.expires_ms - floor.now.unix_ms)
    floor.tick(10_000)
    waiting = floor.proof.challenge
    floor.clock.forward(HOUR_MS)
    floor.tick(10_000)

    assert waiting == challenge.id
    assert (floor.proof.outcome, floor.proof.misses) == ("could_not_run", 0)


def test_a_node_with_fewer_devices_than_it_says_is_out_until_it_proves_them() -> None:
    """The comparison of alone and together comes with the last verdict."""
    floor = ProvingFloor()
    for _ in range(4):
        floor.end("pass", TRUE)
    last = floor.issued()
    floor.settle(last, judged(last, "pass", TRUE, too_few="device 1 takes 2.00 times as long beside the others"))
    barred = floor.row

    assert (barred.standing, barred.proof.bar, barred.proof.proved_ms) == (Standing.QUARANTINED, "count", None)
    assert barred.proof.why.startswith("device 1 takes 2.00 times")


def test_evidence_is_a_chain_and_scores_follow_from_it_alone() -> None:
    """Every verdict over a transcript is an entry; rebuilt from the entries, the figures are the row's, bit for bit."""
    floor = ProvingFloor()
    chain: list[EvidenceEntry] = []
    original = floor.commit

    def commit() -> None:
        chain.extend(one.after for one in floor.book.pending if isinstance(one.after, EvidenceEntry))
        original()

    floor.commit = commit  # type: ignore[method-assign]
    floor.go_through({INT8: 1.9e15, BF16: 0.7e15, MEMORY: 150.0 * GB, BANDWIDTH: 5.1e12})
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    floor.end("hardware_corruption")
    floor.go_through({INT8: 1 / 3 * 1e15, BF16: 0.71e15, MEMORY: 150.0 * GB, BANDWIDTH: 5.2e12})

    assert [entry.seq for entry in chain] == list(range(1, len(chain) + 1))
    assert chain[0].prev_sha256 == NO_ENTRY
    kept = [(plain(entry), bytes.fromhex(entry.sha256)) for entry in chain]
    assert list(evidence.check_chain(kept, after=(0, evidence.NO_ENTRY))) == []
    assert floor.book.evidence_head == chain[-1].sha256
    assert rebuild(chain) == {floor.id: dict(floor.proof.figures)}
    assert rebuild([*chain, *chain[5:6]])[floor.id] == {}  # a second wrong answer takes it all


def test_a_verdict_comes_once() -> None:
    """A challenge that has ended has ended."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.settle(challenge, judged(challenge, "pass", TRUE))

    with pytest.raises(Refused, match="no challenge"):
        floor.settle(challenge, judged(challenge, "cheat_proven", {}))


def test_a_report_that_cannot_be_true_does_not_lift_a_bar() -> None:
    """Nor is it forgotten when the bar ends."""
    floor = ProvingFloor()
    floor.end("hardware_corruption")
    floor.control.disbelieve_report(floor.id, "r2", "faster than light", floor.now)

    assert floor.row.standing is Standing.QUARANTINED
    assert floor.proof.aside is not None
    assert floor.proof.aside.why == "faster than light"


def test_a_barred_node_keeps_what_its_newer_report_says() -> None:
    """It comes back as what it then is."""
    floor = ProvingFloor()
    floor.end("hardware_corruption")
    floor.report("r2", remarks=summary().remarks)
    floor.go_through()

    assert floor.row.report_id == "r2"
    assert floor.row.standing is Standing.READY
