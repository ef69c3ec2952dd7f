"""Offers are written by hand, from pieces that are kept: what is written is what was found."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle import Standing
from scheduler.market.offers import Found, Offer, OfferPage, search
from scheduler.placement.index import Index
from scheduler.proofs.claims import PREFIX
from scheduler.proofs.rows import Proof
from scheduler.records import Attempt, Capacity, Figure, MarketNode, Resources
from server import offer_text, offers
from server.schemas.offers import OfferPageView

NOW_MS = 1_800_000_000_000


def figure(value: float, age_s: int) -> Figure:
    return Figure(value=value, low=None, high=value, n=3, at_ms=NOW_MS - 1000 * age_s, unit="FLOP/s")


PLAIN = MarketNode(
    id=1,
    name='a "quoted" \u00e4 \x00',
    supplier=1,
    public_key="",
    machine="m",
    standing=Standing.READY,
    online=True,
    model="H100",
    capacity=Capacity(gpu_milli=(1000, 1000), cpu_milli=8500, memory_bytes=10, disk_bytes=10),
    price_uh=5,
    executors=("process", "container"),
    figures={"matmul.bf16": figure(6e14, 7)},
    capability={"general": 1.5},
    reported_ms=NOW_MS - 5000,
)
BARE = MarketNode(id=2, name="", supplier=1, public_key="", machine="", standing=Standing.NEW)
PROVED = dataclasses.replace(
    PLAIN,
    id=3,
    figures={**PLAIN.figures, f"{PREFIX}bf16_flops": figure(5e14, 60)},
    proof=Proof(proved_ms=NOW_MS - 30_000, figures={f"{PREFIX}bf16_flops": figure(5e14, 60)}),
)
BARRED = dataclasses.replace(PROVED, id=4, proof=dataclasses.replace(PROVED.proof, bar="cheat"), draining=True)


def test_every_member_of_every_offer_is_what_was_found() -> None:
    """Of nodes with everything, with nothing, proved, and barred; again from what is kept, when less is free."""
    index = Index()
    for node in (PLAIN, BARE, PROVED, BARRED):
        index.changed(None, node)
    before = written(index)
    index.changed(None, attempt_on(3))
    after = written(index)

    assert [one["node"] for one in before["items"]] == [2, 1, 3, 4]
    assert [one["free"] for one in before["items"]] == [0, 2, 2, 2]
    assert [one["free"] for one in after["items"]] == [0, 2, 1, 2]


def test_a_row_that_is_another_is_written_anew() -> None:
    """Under the same number, as one node comes after another in the same market or in two."""
    for node in (PLAIN, dataclasses.replace(PLAIN), dataclasses.replace(BARE, id=1), dataclasses.replace(PROVED, id=1)):
        index = Index()
        index.changed(None, node)
        written(index)
        written(index)


def test_no_more_rows_are_kept_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that are not are written all the same."""
    monkeypatch.setattr(offer_text, "KEPT", 3)
    kept = dict[int, object]()
    monkeypatch.setattr(offer_text, "_texts", kept)
    index = Index()
    for number in range(1, 8):
        index.changed(None, dataclasses.replace(PLAIN, id=number))
    for _ in range(2):
        written(index)

    assert len(kept) == 3


@given(st.integers(-(10**6), 10**13))
def test_ages_are_written_as_python_does(age_ms: int) -> None:
    """Of what was measured by a clock that goes fast too."""
    page = OfferPage(found=(Found(BARE, 0, 0, 0, 0),), count=1, cursor=None, at_ms=age_ms)
    reported = dataclasses.replace(page, found=(Found(dataclasses.replace(BARE, reported_ms=0), 0, 0, 0, 0),))

    assert f'"age_s":{age_ms / 1000!r},' in offers.of_page(reported).decode()
    assert '"age_s":null,' in offers.of_page(page).decode()


def written(index: Index) -> Any:
    """A page of everything, which is compared with the offers it was made of."""
    page = search(index, sort="matmul.bf16", text="", limit=10, now_ms=NOW_MS, default_filters=False)
    page = dataclasses.replace(page, found=tuple(sorted(page.found, key=lambda one: (one.node.price_uh, one.node.id))))
    content = json.loads(offers.of_page(page))

    OfferPageView.model_validate_json(json.dumps(content))
    assert content["items"] == [plain(offer) for offer in page.offers]
    assert [list(one) for one in content["items"]] == [MEMBERS] * len(page.offers)
    return content


def plain(offer: Offer) -> Any:
    """An offer as JSON, from its record."""
    found = json.loads(json.dumps(dataclasses.asdict(offer)))
    is_proved = found.pop("is_proved")
    proved = {key: one for key, one in found["figures"].items() if key.startswith(PREFIX) and is_proved}
    found["proved"] = {key.removeprefix(PREFIX): {**one, "age_s": found["ages_s"][key]} for key, one in proved.items()}
    return found


MEMBERS = list(OfferPageView.model_json_schema()["$defs"]["OfferView"]["properties"])


def attempt_on(node: int) -> Attempt:
    """One that holds a GPU."""
    return Attempt(
        token=1, job=1, n=1, node=node, node_epoch=0, resources=Resources(gpus=1), gpus=(0,), price_uh=1, placed_ms=0
    )
