"""`gridmark verify-evidence`: whoever has the evidence can judge it again, and sees what was changed in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gridmark import cli
from qualify.proof import bundle, evidence, transcript, verdict
from qualify.proof.bundle import Bundle
from qualify.proof.evidence import NO_ENTRY, Entry, Head
from qualify.proof.verify import verify
from tests.qualify.proof import play

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence of a challenge that was answered truly, as a server gives it."""
    told = play.play(play.challenge_of())
    text = transcript.to_bytes(told)
    entry = Entry(
        seq=1,
        prev=NO_ENTRY,
        challenge=told.challenge.id,
        node=told.challenge.node,
        transcript_sha256=hashlib.sha256(text).digest(),
        verdict=verify(told),
        verifier=verdict.VERIFIER,
        at_ms=1_800_000_000_000,
    )
    head = Head(seq=1, digest=evidence.digest(entry), at_ms=1_800_000_000_000)
    whole = Bundle(
        entry=entry,
        transcript=text,
        head=head,
        signature=evidence.sign_head(head, KEY),
        public_key=PUBLIC,
        links=(),
    )
    path = tmp_path_factory.mktemp("evidence") / "evidence.json"
    path.write_bytes(bundle.to_bytes(whole))
    return path


def verify_evidence(*arguments: object) -> Result:
    """What the command says and how it ends."""
    return CliRunner().invoke(cli, ["verify-evidence", *map(str, arguments)])


def changed(kept: Path, **members: Any) -> Path:
    """A copy in which these members are others."""
    path = kept.with_name("changed.json")
    path.write_text(json.dumps(json.loads(kept.read_bytes()) | members, sort_keys=True, separators=(",", ":")))
    return path


def test_evidence_is_judged_again_and_holds(kept: Path) -> None:
    """Every check is said; with the server's key, that it is this server's."""
    answer = verify_evidence(kept, "--key", PUBLIC.hex(), "--json")
    document = json.loads(answer.stdout)

    assert answer.exit_code == 0
    assert document["holds"]
    assert [one["name"] for one in document["checks"]] == [
        "transcript", "names", "membership", "signature", "verdict", "key"
    ]  # fmt: skip
    assert document["verdict"] == document["entry"]["verdict"]


def test_the_table_says_the_same(kept: Path) -> None:
    """For people: outcome, figures and checks."""
    answer = verify_evidence(kept)

    assert answer.exit_code == 0
    assert "proved.int8_ops_per_s" in answer.stdout
    assert "DOES NOT HOLD" not in answer.stdout
    assert answer.stderr == "gridmark: everything holds\n"


@pytest.mark.parametrize("what", ["verdict", "transcript", "signature"])
def test_evidence_that_was_changed_does_not_hold(kept: Path, what: str) -> None:
    """A better outcome, another run, another hand: exit code 1, and which check it is."""
    whole = json.loads(kept.read_bytes())
    match what:
        case "verdict":
            entry = whole["entry"]
            path = changed(kept, entry={**entry, "verdict": {**entry["verdict"], "outcome": "cheat_proven"}})
        case "transcript":
            path = changed(kept, transcript=whole["transcript"].replace('"level":"light"', '"level":"full"'))
        case _:
            path = changed(kept, signature="00" * 64)
    answer = verify_evidence(path, "--json")

    assert answer.exit_code == 1
    assert what in [one["name"] for one in json.loads(answer.stdout)["checks"] if not one["holds"]]


def test_another_server_s_key_does_not_hold(kept: Path) -> None:
    """Evidence signed by whoever is not the server that is known."""
    answer = verify_evidence(kept, "--key", "ab" * 32, "--json")

    assert answer.exit_code == 1
    assert [one["name"] for one in json.loads(answer.stdout)["checks"] if not one["holds"]] == ["key"]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"{}", 3, "this is no evidence: bundle.entry: missing"),
        (b"\xff", 3, "this is no evidence: expected ASCII"),
        (None, 3, "is no challenge's id and cannot be read: No such file"),
    ],
)
def test_what_is_no_evidence_is_said_in_a_sentence(
    tmp_path: Path, content: bytes | None, code: int, words: str
) -> None:
    """No traceback, whatever the file holds."""
    path = tmp_path / "evidence.json"
    if content is not None:
        path.write_bytes(content)
    answer = verify_evidence(path)

    assert answer.exit_code == code
    assert words in answer.stderr


def test_a_key_that_is_none_is_a_wrong_use(kept: Path) -> None:
    """Exit code 2."""
    answer = verify_evidence(kept, "--key", "xyz")

    assert answer.exit_code == 2
    assert "--key: expected 64 lower-case hex digits" in answer.stderr
