"""Bodies that are meant to break who reads them."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from tests.redteam.attack import REFUSED, Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN, SkipsRows, quicker
from tests.redteam.bout import Bout, Json

JSON = {"Content-Type": "application/json"}


def _body(make: Callable[[Json], bytes | Json], step: str = "epochs") -> Callable[[Bout], str]:
    """The document of one step, made into another."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(quicker(0.9), lambda: SkipsRows(0.9), **{step: make})

    return run


def _text(document: Any) -> bytes:
    return json.dumps(document).encode()


def _roots(value: str) -> Callable[[Json], bytes]:
    """A text in the place of the first device's roots."""

    def make(document: Json) -> bytes:
        return _text({**document, "roots": {**document["roots"], "0": "@"}}).replace(b'"@"', value.encode())

    return make


def _number(value: str) -> Callable[[Json], bytes]:
    """A text in the place of the epoch's number."""
    return lambda document: _text({**document, "epoch": "@"}).replace(b'"@"', value.encode())


class Runs:
    """What unpickling it would do."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def _respelled(document: Json) -> bytes:
    """Four bits after the last byte of the first state that base64 would let be anything."""
    opened = document["openings"]["0"][0]
    assert opened["end"].endswith("=="), "states of 64 bytes are padded"
    opened["end"] = opened["end"][:-3] + chr(ord(opened["end"][-3]) + 1) + "=="
    return _text(document)


def _zipped(pack: Callable[[bytes], bytes]) -> Callable[[Bout], str]:
    """Openings that are said to be packed."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        packed = {"Content-Encoding": "gzip"}
        return bout.check(quicker(0.5), lambda: SkipsRows(0.5), openings=lambda d: pack(_text(d)), headers=packed)

    return run


def _early(make: Callable[[], bytes], headers: Mapping[str, str] = JSON) -> Callable[[Bout], str]:
    """A body with the first call of a challenge, which needs none."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        assert bout.fetch() is not None
        bout.say("ready", make(), headers=headers)
        bout.say("epochs", make(), headers=headers)
        return bout.ending()

    return run


def _attack(
    name: str, against: str, does: str, run: Callable[[Bout], str], why: str = "", *, large: bool = False
) -> Attack:
    """`large`: refused before anybody knows whose it is, so that no stranger can end a challenge by it."""
    found = ends(REFUSED) if large else ends("protocol_error")
    return Attack(name=name, against=against, does=does, run=run, ends=found, why="too-large" if large else why)


LENIENT = "readers of JSON that take what is no JSON"
DEAR = "readers that cost more than writers"

ATTACKS = (
    _attack("nan-epoch", LENIENT, "numbers an epoch NaN", _body(_number("NaN"))),
    _attack("infinite-epoch", LENIENT, "numbers an epoch 1e999", _body(_number("1e999"))),
    _attack("huge-epoch", DEAR, "numbers an epoch with 4000 digits", _body(_number("9" * 4000))),
    _attack("true-epoch", LENIENT, "numbers an epoch true", _body(_number("true"))),
    _attack("negative-epoch", LENIENT, "numbers an epoch -1", _body(_number("-1"))),
    _attack("float-epoch", LENIENT, "numbers an epoch 0.0", _body(_number("0.0"))),
    _attack("null-roots", "basilica's absent results", "has null for roots", _body(_roots("null"))),
    _attack("empty-roots", "Prime Intellect's empty lists", "ran no segment", _body(_roots("[]"))),
    _attack(
        "huge-list", DEAR, "hands in 100,000 roots", _body(_roots("[" + ",".join(['"00"'] * 100_000) + "]")), large=True
    ),
    _attack("deep-json", DEAR, "nests 2,000 lists", _body(_roots("[" * 2_000 + "]" * 2_000)), "nested"),
    _attack("huge-json", DEAR, "sends 20 MB", _body(_roots('"' + "0" * 20_000_000 + '"')), large=True),
    _attack("doubled-keys", LENIENT, "names its roots twice", _body(lambda d: _text(d)[:-1] + b',"roots":{"0":[]}}')),
    _attack("other-bytes", LENIENT, "sends what is no text", _body(lambda _: bytes(range(256)))),
    _attack(
        "upper-case-roots",
        LENIENT,
        "writes hex otherwise",
        _body(lambda d: json.loads(json.dumps(d).upper().replace("EPOCH", "epoch").replace("ROOTS", "roots"))),
    ),
    _attack(
        "unpickle-me",
        "SN27, whose validator called np.load(allow_pickle=True) on a miner's file",
        "sends a pickle that runs code",
        _body(lambda _: pickle.dumps(Runs()), "openings"),
    ),
    _attack(
        "second-base64",
        LENIENT,
        "writes the padding bits of base64 otherwise",
        _body(_respelled, "openings"),
    ),
    _attack("compressed-bomb", DEAR, "packs 16 MB into 16 kB", _zipped(lambda _: gzip.compress(bytes(1 << 24)))),
    _attack("half-a-gzip", LENIENT, "sends a packed body that ends early", _zipped(lambda d: gzip.compress(d)[:-6])),
    _attack("not-gzip", LENIENT, "says that it is packed", _zipped(lambda d: d)),
    _attack("gzip-and-more", LENIENT, "adds to a packed body", _zipped(lambda d: gzip.compress(d) + b"{}")),
    _attack("deep-beginning", DEAR, "nests lists where nothing is expected", _early(lambda: b"[" * 2_000)),
)
