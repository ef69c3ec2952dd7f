"""The table `node`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from scheduler.lifecycle import Standing
from scheduler.proofs.rows import Proof
from scheduler.records import Capacity, Figure, MarketNode
from scheduler.store import text
from scheduler.store.statement import Values, selection, update_one

_INSERT = """
insert into node (
    id, name, supplier, public_key, machine, epoch, boot_id, standing, online, draining, why, device_kind, model,
    capacity, vram_bytes, region, price_uh, executors, shares_gpus, figures, capability, health, report_id,
    reported_ms, due_ms, enrolled_ms, lost_jobs, proof
) values (
    :id, :name, :supplier, :public_key, :machine, :epoch, :boot_id, :standing, :online, :draining, :why, :device_kind,
    :model, :capacity, :vram_bytes, :region, :price_uh, :executors, :shares_gpus, :figures, :capability, :health,
    :report_id, :reported_ms, :due_ms, :enrolled_ms, :lost_jobs, :proof
)
"""
_UPDATE = """
update node set
    name = :name, supplier = :supplier, public_key = :public_key, epoch = :epoch, boot_id = :boot_id,
    standing = :standing, online = :online, draining = :draining, why = :why, region = :region, price_uh = :price_uh,
    executors = :executors, shares_gpus = :shares_gpus, due_ms = :due_ms, lost_jobs = :lost_jobs
where id = :id and epoch = :was_epoch and boot_id = :was_boot_id and standing = :was_standing
    and online = :was_online and draining = :was_draining and report_id = :was_report_id
"""
_UPDATE_MEASURED = """
update node set
    machine = :machine, device_kind = :device_kind, model = :model, capacity = :capacity, vram_bytes = :vram_bytes,
    figures = :figures, capability = :capability, health = :health, report_id = :report_id, reported_ms = :reported_ms
where id = :id and report_id = :was_report_id
"""
_UPDATE_PROOF = "update node set proof = :proof where id = :id and proof = :was_proof"
_SELECT_AT_WORK = """
select id, capacity, reported_ms from node where id in (select node from attempt where state < 10) order by id
"""
_SELECT_PROOF = "select proof from node where id = :id"
_RAISE_EPOCHS = "update node set epoch = epoch + :by"
_COLUMNS = (
    "id",
    "name",
    "supplier",
    "public_key",
    "machine",
    "epoch",
    "boot_id",
    "standing",
    "online",
    "draining",
    "why",
    "device_kind",
    "model",
    "capacity",
    "vram_bytes",
    "region",
    "price_uh",
    "executors",
    "shares_gpus",
    "figures",
    "capability",
    "health",
    "report_id",
    "reported_ms",
    "due_ms",
    "enrolled_ms",
    "lost_jobs",
    "proof",
)
_SELECT = selection("node", _COLUMNS)


def insert(db: sqlite3.Connection, node: MarketNode) -> None:
    """A node enrolled."""
    db.execute(
        _INSERT,
        {
            "id": node.id,
            "enrolled_ms": node.enrolled_ms,
            "proof": text.of_record(node.proof),
            **_terms(node),
            **_measured(node),
        },
    )


def update(db: sqlite3.Connection, before: MarketNode, after: MarketNode) -> None:
    """A node changed; what a report or a proof brought is only written when it did.

    Raises:
        StaleWriteError: epoch, boot, standing, reach, report or proof are not those of `before`.
    """
    was = {
        "was_epoch": before.epoch,
        "was_boot_id": before.boot_id,
        "was_standing": before.standing,
        "was_online": before.online,
        "was_draining": before.draining,
        "was_report_id": before.report_id,
    }
    update_one(db, _UPDATE, {"id": after.id, **_terms(after), **was}, f"node {after.id}")
    if _report_of(before) != _report_of(after):
        measured = {"id": after.id, "was_report_id": before.report_id, **_measured(after)}
        update_one(db, _UPDATE_MEASURED, measured, f"node {after.id}")
    if before.proof != after.proof:
        proof, was_proof = text.of_record(after.proof), _stored_proof(db, before)
        update_one(db, _UPDATE_PROOF, {"id": after.id, "proof": proof, "was_proof": was_proof}, f"node {after.id}")


def raise_epochs(db: sqlite3.Connection, by: int) -> None:
    """Make every agent register anew (backup.py)."""
    db.execute(_RAISE_EPOCHS, {"by": by})


def at_work(db: sqlite3.Connection) -> Iterator[tuple[int, Capacity, int | None]]:
    """Of nodes with live attempts: number, capacity, and when they were last reported on."""
    for id_, capacity, reported_ms in db.execute(_SELECT_AT_WORK):
        yield id_, text.record(Capacity, capacity), reported_ms


def every(db: sqlite3.Connection) -> Iterator[MarketNode]:
    """All nodes there ever were; the market keeps them in memory."""
    return map(_node, db.execute(_SELECT))


def _stored_proof(db: sqlite3.Connection, before: MarketNode) -> str:
    """The text that stands for a proof: its own, or what an earlier version wrote that knew fewer fields."""
    row = db.execute(_SELECT_PROOF, {"id": before.id}).fetchone()
    if row is not None and text.record(Proof, row["proof"]) == before.proof:
        return str(row["proof"])
    return text.of_record(before.proof)


def _terms(node: MarketNode) -> Values:
    return {
        "name": node.name,
        "supplier": node.supplier,
        "public_key": node.public_key,
        "epoch": node.epoch,
        "boot_id": node.boot_id,
        "standing": node.standing,
        "online": node.online,
        "draining": node.draining,
        "why": node.why,
        "region": node.region,
        "price_uh": node.price_uh,
        "executors": text.of_plain(node.executors),
        "shares_gpus": node.shares_gpus,
        "due_ms": node.due_ms,
        "lost_jobs": text.of_plain(node.lost_jobs),
    }


def _measured(node: MarketNode) -> Values:
    return {
        "machine": node.machine,
        "device_kind": node.device_kind,
        "model": node.model,
        "capacity": text.of_record(node.capacity),
        "vram_bytes": node.vram_bytes,
        "figures": text.of_named(node.figures),
        "capability": text.of_plain(dict(node.capability)),
        "health": node.health,
        "report_id": node.report_id,
        "reported_ms": node.reported_ms,
    }


def _report_of(node: MarketNode) -> tuple[object, ...]:
    return (
        node.report_id,
        node.reported_ms,
        node.machine,
        node.device_kind,
        node.model,
        node.vram_bytes,
        node.health,
        node.capacity,
        node.capability,
        node.figures,
    )


def _node(row: sqlite3.Row) -> MarketNode:
    (
        id_,
        name,
        supplier,
        public_key,
        machine,
        epoch,
        boot_id,
        standing,
        online,
        draining,
        why,
        device_kind,
        model,
        capacity,
        vram_bytes,
        region,
        price_uh,
        executors,
        shares_gpus,
        figures,
        capability,
        health,
        report_id,
        reported_ms,
        due_ms,
        enrolled_ms,
        lost_jobs,
        proof,
    ) = row
    return MarketNode(
        id=id_,
        name=name,
        supplier=supplier,
        public_key=public_key,
        machine=machine,
        epoch=epoch,
        boot_id=boot_id,
        standing=Standing(standing),
        online=bool(online),
        draining=bool(draining),
        why=why,
        device_kind=device_kind,
        model=model,
        capacity=text.record(Capacity, capacity),
        vram_bytes=vram_bytes,
        region=region,
        price_uh=price_uh,
        executors=text.listed(executors),
        shares_gpus=bool(shares_gpus),
        figures=text.named(Figure, figures),
        capability=text.plain(capability),
        health=health,
        report_id=report_id,
        reported_ms=reported_ms,
        due_ms=due_ms,
        enrolled_ms=enrolled_ms,
        lost_jobs=text.listed(lost_jobs),
        proof=text.record(Proof, proof),
    )
