"""Job documents in JSON or YAML: read without surprises, each value with the line it stands on.

YAML is read by the core schema of YAML 1.2: `no` and `on` are words, 12:30 is no number of seconds, a date is a text.
In env, secrets, command and name a number is taken as it was written: `VERSION: 1.10` is "1.10".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

Json = dict[str, Any]
Place = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_VALUES = 20_000
MAX_DEPTH = 32
#: first word of a path below which a plain number or truth value is text as well
TEXTUAL = frozenset({"env", "secrets", "command", "name"})
#: what YAML takes a value for by itself; we read it anew, and refuse what only a tag can make of it
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value")
)
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class JobFileError(Exception):
    """A document that is no job; the message says where and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A job document as it was written."""

    name: str  #: of its file
    content: Json
    lines: Mapping[Place, int] = field(default_factory=dict)  #: path of a value -> its line, from 1

    def where(self, at: str) -> str:
        """ "job.yaml:7" for a path such as "body.resources.memory"; of what is missing, the line it is missing in."""
        place = tuple(int(part) if part.isdigit() else part for part in at.removeprefix("body").strip(".").split("."))
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return f"{self.name}:{self.lines[place[:length]]}"
        return self.name


def read(file: str, stdin: IO[bytes]) -> Document:
    """The document in `file`; - is stdin.

    Raises:
        JobFileError: it cannot be read, or is neither JSON nor YAML.
    """
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            raw = stdin.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise JobFileError(f"{name} is no job document: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise JobFileError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > MAX_BYTES:
        raise JobFileError(f"{name} is longer than {MAX_BYTES >> 20} MiB; upload data with `inputs` instead")
    return parse(text, name)


def parse(text: str, name: str) -> Document:
    """The document in `text`.

    Raises:
        JobFileError: it is neither JSON nor YAML, gives a key twice, or is no object.
    """
    reader = _Reader(name)
    root = reader.compose(text)
    content = reader.value(root, ()) if root is not None else None
    if text.lstrip().startswith("{") and (exact := _strict_json(text)) is not None:
        content = exact  # YAML reads most JSON, but not its surrogate pairs
    if not isinstance(content, dict):
        raise JobFileError(f"{name} is no job document: expected `command: [...]` and other fields, found none")
    return Document(name=name, content=content, lines=reader.lines)


def _strict_json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(word: str) -> object:
    raise ValueError(word)


class _Reader:
    """Turns YAML's nodes into values; remembers their lines."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Place, int] = {}
        self._name = name
        self._values = 0

    def compose(self, text: str) -> yaml.Node | None:
        """The root node; None in an empty document."""
        import yaml

        try:
            # JSON may be indented by tabs, which YAML refuses; inside of its strings they are escaped anyway
            found: yaml.Node | None = yaml.compose(text.expandtabs(2) if text[:1] in "{[" else text, yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise JobFileError(f"{self._name}{line}: {error.problem or error.context}") from None
        except yaml.YAMLError as error:
            raise JobFileError(f"{self._name} is no job document: {str(error).splitlines()[0]}") from None
        except RecursionError:
            raise JobFileError(f"{self._name} is nested too deeply to be read") from None
        return found

    def value(self, node: yaml.Node, place: Place) -> Any:
        """What a node says."""
        import yaml

        self._values += 1  # a few aliases of aliases can stand for billions
        if self._values > MAX_VALUES or len(place) > MAX_DEPTH:
            self._refuse(node, f"more than {MAX_VALUES} values, or nested deeper than {MAX_DEPTH} levels")
        if node.tag not in _TAGS:
            self._refuse(node, f"the tag {node.tag} means nothing here")
        self.lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        raise AssertionError(f"YAML has no {type(node).__name__}")

    def _mapping(self, node: yaml.MappingNode, place: Place) -> Json:
        found: Json = {}
        for key, item in node.value:
            if not isinstance(key.value, str) or key.tag.endswith(":merge"):
                self._refuse(key, "a field's name must be a plain text")
            if key.value in found:
                self._refuse(key, f"{'.'.join(map(str, (*place, key.value)))} is given twice")
            found[key.value] = self.value(item, (*place, key.value))
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text: str = node.value
        if node.style is not None:
            return text
        if text in _WORDS:
            value = _WORDS[text]
            return text if value is not None and _textual(place) else value
        if _textual(place):
            return text
        if _INTEGER.fullmatch(text):
            return int(text) if len(text) < 20 else self._refuse(node, "a number of too many digits")
        if _FLOAT.fullmatch(text):
            return float(text) if math.isfinite(float(text)) else self._refuse(node, "a number that is too large")
        return text

    def _refuse(self, node: yaml.Node, reason: str) -> Any:
        raise JobFileError(f"{self._name}:{node.start_mark.line + 1}: {reason}")


def _textual(place: Place) -> bool:
    return bool(place) and place[0] in TEXTUAL and len(place) <= 2
