"""The tables `account` and `blob`: who may call, and what they uploaded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from scheduler.records import Account, Blob
from scheduler.store.statement import update_one

_INSERT = """
insert into account (
    id, name, role, token_sha256, created_ms, revoked_ms, weight_milli, jobs_max, gpu_milli_max, cpu_milli_max
) values (
    :id, :name, :role, :token_sha256, :created_ms, :revoked_ms, :weight_milli, :jobs_max, :gpu_milli_max, :cpu_milli_max
)
"""
_UPDATE = """
update account set
    name = :name, role = :role, token_sha256 = :token_sha256, revoked_ms = :revoked_ms, weight_milli = :weight_milli,
    jobs_max = :jobs_max, gpu_milli_max = :gpu_milli_max, cpu_milli_max = :cpu_milli_max
where id = :id and revoked_ms is :was_revoked_ms and role = :was_role and token_sha256 = :was_token_sha256
"""
_SELECT = "select * from account order by id"
_SELECT_PAGE = "select * from account where id > :after order by id limit :limit"
_SELECT_BY_DIGEST = "select * from account where token_sha256 = :token_sha256"

# the same content again is no news
_INSERT_BLOB = """
insert into blob (owner, sha256, size_bytes, created_ms) values (:owner, :sha256, :size_bytes, :created_ms)
on conflict (owner, sha256) do nothing
"""
_SUM_BLOBS = "select coalesce(sum(size_bytes), 0) from blob where owner = :owner"
_SELECT_BLOB = "select * from blob where owner = :owner and sha256 = :sha256"


def insert(db: sqlite3.Connection, account: Account) -> None:
    """An account opened."""
    db.execute(_INSERT, {**_kept(account), "id": account.id, "created_ms": account.created_ms})


def update(db: sqlite3.Connection, before: Account, after: Account) -> None:
    """An account changed or revoked.

    Raises:
        StaleWriteError: role, digest or revocation are not those of `before`.
    """
    was = {
        "was_revoked_ms": before.revoked_ms,
        "was_role": before.role,
        "was_token_sha256": before.token_sha256,
    }
    update_one(db, _UPDATE, {"id": after.id, **_kept(after), **was}, f"account {after.id}")


def every(db: sqlite3.Connection) -> Iterator[Account]:
    """All accounts, revoked ones too."""
    return map(_account, db.execute(_SELECT))


def page(db: sqlite3.Connection, *, after: int, limit: int) -> tuple[Account, ...]:
    """Accounts numbered above `after`."""
    return tuple(map(_account, db.execute(_SELECT_PAGE, {"after": after, "limit": limit})))


def by_digest(db: sqlite3.Connection, token_sha256: str) -> Account | None:
    """Whose token it is, revoked or not."""
    row = db.execute(_SELECT_BY_DIGEST, {"token_sha256": token_sha256}).fetchone()
    return _account(row) if row else None


def insert_blob(db: sqlite3.Connection, blob: Blob) -> None:
    """An upload, or the same one again."""
    values = {
        "owner": blob.owner,
        "sha256": blob.sha256,
        "size_bytes": blob.size_bytes,
        "created_ms": blob.created_ms,
    }
    db.execute(_INSERT_BLOB, values)


def blob(db: sqlite3.Connection, owner: int, sha256: str) -> Blob | None:
    """An upload of `owner`; somebody else's with the same content does not count."""
    row = db.execute(_SELECT_BLOB, {"owner": owner, "sha256": sha256}).fetchone()
    return Blob(**row) if row else None


def blob_bytes(db: sqlite3.Connection, owner: int) -> int:
    """How much all uploads of `owner` are together."""
    return int(db.execute(_SUM_BLOBS, {"owner": owner}).fetchone()[0])


def _kept(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "role": account.role,
        "token_sha256": account.token_sha256,
        "revoked_ms": account.revoked_ms,
        "weight_milli": account.weight_milli,
        "jobs_max": account.jobs_max,
        "gpu_milli_max": account.gpu_milli_max,
        "cpu_milli_max": account.cpu_milli_max,
    }


def _account(row: sqlite3.Row) -> Account:
    return Account(**row)
