"""Makes this machine a node of a server: a key of its own, its terms, and the supplier's word for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from qualify.records import Json
from scheduler.node import identity, machine
from scheduler.node.agent import agent_folder
from scheduler.node.execution import executors
from scheduler.node.remote import RefusedError, Remote
from scheduler.node.trust import trusted


class JoinError(Exception):
    """The node could not be enrolled; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The terms on which the owner lists this node."""

    name: str
    price_uh: int  #: micro-dollars per hour of the whole node
    region: str = ""
    shares_gpus: bool = False
    process: bool = False  #: whether jobs may be commands of the node itself, not only containers


def offered(
    environment: Mapping[str, str], data: Path, *, process: bool, say: Callable[[str], None] = lambda _: None
) -> tuple[str, ...]:
    """The executors that this node can offer and its owner allows; `say` hears which others it cannot, and why.

    Raises:
        JoinError: none; says why for each.
    """
    found = machine.probe(environment, tag="", data=data)
    names, reasons = [], []
    for name, executor in executors().items():
        reason = executor.available(found)
        if name == "process" and not process:
            reason = "not allowed; --allow-process allows it"
        if reason is None:
            names.append(name)
        else:
            reasons.append(f"{name}: {reason}")
    if not names:
        raise JoinError(f"this node has nothing to run jobs with ({'; '.join(reasons)})")
    for one in reasons:
        say(f"not on offer: {one}")
    return tuple(names)


async def enrol(
    server: str,
    token: str,
    offer: Offer,
    *,
    data: Path,
    names: tuple[str, ...],
    ca: str | None = None,
    unix_ms: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> identity.Enrolment:
    """Enrol, or change the terms of a node that is, and keep where in the agent's folder.

    Args:
        token: of the supplier's account; it is not kept.
        names: the executors on offer, see `offered`.

    Raises:
        JoinError: another agent runs in the folder, or the folder is another server's.
        IdentityError: the URL, the authority's file or the folder will not do.
        RemoteError: the server cannot be reached, or says no.
        OSError: the folder cannot be written.
    """
    folder = agent_folder(data)
    lock = identity.only_agent(folder)
    try:
        key = identity.own_key(folder)
        remote = Remote(
            server,
            node=0,  # not known yet; the signature proves the key alone
            key=key,
            first_seq=identity.first_seq(folder, unix_ms),
            verify=trusted(server, ca),
            transport=transport,
        )
        try:
            node = await _enrolled(remote, token, offer, key.public, names)
        finally:
            await remote.close()
        kept = identity.Enrolment(server=server, node=node, name=offer.name, ca=ca, executors=names)
        identity.keep_enrolment(folder, kept)
        return kept
    finally:
        lock.close()


async def _enrolled(remote: Remote, token: str, offer: Offer, public_key: str, names: tuple[str, ...]) -> int:
    document: dict[str, Json] = {
        "name": offer.name,
        "public_key": public_key,
        "region": offer.region,
        "price": f"{offer.price_uh / 1e6:.6f} $/h",
        "executors": list(names),
        "shares_gpus": offer.shares_gpus,
    }
    await remote.hello()
    answer = await remote.call("POST", "/v1/nodes", document=document, bearer=token)
    node = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(node, int):
        raise RefusedError(201, "", "it does not say the node's number; is it a gridmark server?", {})
    return node
