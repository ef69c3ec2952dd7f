"""`gridmark up`: the whole market on this machine, in one process and one folder.

The first start measures the machine, the later ones find it measured: they serve at once, and the market has the node
measured anew when it is due and idle. The node's agent runs in a thread with an event loop of its own. What runs when
the process ends goes on under its supervisors: frozen when the lease lapses, thawed when the next start takes it over.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging.handlers
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from scheduler.node import identity
from scheduler.node.agent import agent_folder
from scheduler.records import Role
from server import auth, client_settings, serving
from server.client import ClientError
from server.client_settings import Kept
from server.own_node import LOG_FILE, NodeThread, Wishes, Words
from server.problems import ProblemError
from server.runtime import Runtime
from server.settings import Settings

HOST = "127.0.0.1"
ROLES: tuple[Role, ...] = ("renter", "supplier", "operator")
#: the market takes a report up to an hour after its run ended; of an older one the measurement is repeated
REPORT_AGE = "50m"
LOG_BYTES = 16 << 20


class UpError(Exception):
    """It cannot begin, or go on; one sentence."""


def up(wishes: Wishes, environment: Mapping[str, str], words: Words) -> int:
    """Serve until SIGINT or SIGTERM; how many jobs were running then.

    Raises:
        UpError, StoreError, ServingError, SettingsError: it cannot begin, or the node cannot serve.
        KeyboardInterrupt: stopped before it served.
    """
    environment = {**environment, "GRIDMARK_DATA": str(wishes.data)}
    settings = Settings(data=wishes.data, host=HOST, port=wishes.port)
    settings.check()
    with _stopped_once_serving() as serves:
        _make_private(settings.data)
        with contextlib.ExitStack() as unless_served:
            runtime = Runtime.open(settings)
            unless_served.callback(runtime.close)
            _check_port(wishes.port)
            tokens = kept_tokens(runtime, wishes.data)
            report = None if _is_measured(runtime, wishes.data) else _measured(wishes, environment)
            node = NodeThread(runtime, wishes, environment, words, tokens=tokens, report=report)
            unless_served.pop_all()  # from here on the server closes it

        def ready(url: str) -> None:
            serves.set()
            client_settings.save(wishes.data, Kept(server=url, tokens=tokens))
            node.start(url)

        log = logging.handlers.RotatingFileHandler(wishes.data / LOG_FILE, maxBytes=LOG_BYTES, backupCount=1)
        try:
            serving.serve(settings, runtime=runtime, ready=ready, log=log)
        finally:
            node.stop()
            log.close()
    if node.failure:
        raise UpError(node.failure)
    return len(runtime.book.attempts)


def serve_alone(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve without a node until SIGINT or SIGTERM.

    Raises:
        StoreError, ServingError, SettingsError: it cannot begin.
        KeyboardInterrupt: stopped before it served.
    """
    settings.check()
    with _stopped_once_serving() as serves:
        _make_private(settings.data)
        with contextlib.ExitStack() as unless_served:
            runtime = Runtime.open(settings)
            unless_served.callback(runtime.close)
            tokens = kept_tokens(runtime, settings.data)
            unless_served.pop_all()  # from here on the server closes it

        def serving_at(url: str) -> None:
            serves.set()
            client_settings.save(settings.data, Kept(server=url, tokens=tokens))
            ready(url)

        serving.serve(settings, runtime=runtime, ready=serving_at)


def _make_private(folder: Path) -> None:
    """A folder that only its owner enters: jobs, their output and tokens are in it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def kept_tokens(runtime: Runtime, data: Path) -> dict[str, str]:
    """A token for each role: those of the file as far as they still let in, new accounts' otherwise."""
    try:
        kept = client_settings.read(data)
    except ClientError:  # damaged: it is written anew
        kept = None
    tokens = kept.tokens if kept else {}
    found = {role: token for role, token in tokens.items() if _lets_in(runtime, role, token)}
    if missing := [role for role in ROLES if role not in found]:
        new = runtime.bootstrap() or {role: _new_account(runtime, role) for role in missing}
        found |= {str(role): token for role, token in new.items()}
    return found


def _lets_in(runtime: Runtime, role: str, token: str) -> bool:
    try:
        return runtime.directory.whose(token).role == role
    except ProblemError:
        return False


def _new_account(runtime: Runtime, role: Role) -> str:
    token = auth.new_token(runtime.sources.random_bytes)
    digest = auth.digest(token)
    made = runtime.writer.do(lambda control, now: control.create_account(f"{role} of gridmark up", role, digest, now))
    runtime.directory.put(made.result())
    return token


def _is_measured(runtime: Runtime, data: Path) -> bool:
    """Whether the market has a report of the node that this folder is enrolled as."""
    try:
        enrolled = identity.enrolment(agent_folder(data))
    except identity.IdentityError:
        return False
    node = runtime.book.nodes.get(enrolled.node)
    return node is not None and node.reported_ms is not None


def _measured(wishes: Wishes, environment: Mapping[str, str]) -> bytes:
    """A report of this machine as gzipped JSON: measured now, with its progress on stderr, or a few minutes ago."""
    front_door = Path(__file__).resolve().parents[1] / "gridmark.py"
    argv = [sys.executable, str(front_door), "qualify", "--json", "--if-older-than", REPORT_AGE]
    argv += ["--device", wishes.device, "--workdir", str(wishes.data)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=dict(environment)) as child:
        try:
            content, _ = child.communicate()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # a terminal's Ctrl-C has reached it already, another's signal has not
            child.communicate()
            raise
    try:
        partial = json.loads(content)["partial"]
    except (ValueError, KeyError, TypeError):
        raise UpError("this machine could not be measured; `gridmark doctor` says what stands in the way") from None
    if partial:
        raise KeyboardInterrupt
    return gzip.compress(content, 6)


def _check_port(port: int) -> None:
    """Refuse a taken port before a minute is spent on measuring."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise UpError(f"port {port} cannot be listened on: {error.strerror}; choose another with --port") from error


@contextlib.contextmanager
def _stopped_once_serving() -> Iterator[threading.Event]:
    """Until the event is set a signal interrupts; from then on the server catches it, and it is not raised again."""
    serves = threading.Event()

    def caught(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not serves.is_set():
            raise KeyboardInterrupt

    before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield serves
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
