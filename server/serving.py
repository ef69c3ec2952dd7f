"""Serves the application: sockets, TLS, and an end in order: answer who waits, finish what is asked, commit, close."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

import uvicorn
from fastapi import APIRouter

from scheduler.collector import collect_rarely
from server import logs
from server.app import create_app
from server.direct import Protocol
from server.runtime import Runtime
from server.settings import Settings

#: of a connection that asks nothing more; agents and clients come back much sooner
KEEP_ALIVE_S = 75
BACKLOG = 4096  #: a whole fleet comes back at once after a restart; Linux takes no more by default
#: how long a thread that others wait for may go on; Python's 5 ms are many times what a request takes, which is handed
#: from thread to thread and waits for the writer each time. It begins anew whenever the one that goes on lets go for a
#: moment, so it is less than there usually is between two such moments of the writer
SWITCH_S = 0.00005


class ServingError(Exception):
    """The server could not begin; one sentence."""


class Server(uvicorn.Server):
    """uvicorn, which lets those who are held back go before it waits for open requests to end."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order on SIGTERM and SIGINT; uvicorn would raise them again, before the store is closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer long polls and follows, wait for the rest."""
        logs.say("stopping")
        self._runtime.stop_waiting()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    more: Iterable[APIRouter] = (),
    ready: Callable[[str], None] = lambda _: None,
    log: logging.Handler | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, in the main thread; everything that was answered is on the disk when it returns.

    Args:
        runtime: an open one, which is closed at the end; None = open one.
        ready: told the server's URL as soon as it answers.
        log: where the server's lines go; None = stderr.

    Raises:
        SettingsError, StoreError, ServingError: it cannot begin; says why in a sentence.
    """
    with contextlib.ExitStack() as stack:
        if runtime is not None:  # handed over: closed whatever happens here
            stack.callback(runtime.close)
        settings.check()
        listener = stack.enter_context(_listening(settings))
        if runtime is None:
            runtime = Runtime.open(settings)
            stack.callback(runtime.close)
        logs.install(log or logging.StreamHandler(sys.stderr))
        for fault in runtime.faults:
            logs.say("the database contradicts itself", level=logging.ERROR, fault=fault)
        url = address(settings, listener)
        if settings.beyond_loopback and not settings.encrypted:
            logs.say("insecure: tokens and logs go over plain HTTP", level=logging.WARNING, url=url)
        app = create_app(settings, runtime, more=more)
        server = Server(_config(settings, app, runtime), runtime, lambda: ready(url))
        collect_rarely()
        sys.setswitchinterval(SWITCH_S)
        logs.say("serving", url=url, data=str(settings.data))
        server.run(sockets=[listener])
        logs.say("stopped")


def address(settings: Settings, listener: socket.socket) -> str:
    """The URL under which the server answers on this machine."""
    host, port = listener.getsockname()[:2]
    if settings.host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = settings.host
    elif host == "::":
        host = "::1"
    else:
        host = "127.0.0.1"
    scheme = "https" if settings.encrypted else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServingError(f"{settings.host} is no address to listen on: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError as error:
            text = f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
            raise ServingError(f"{text}; is another server running? choose another port with --port") from error
        listener.setblocking(False)
        yield listener


def _config(settings: Settings, app: object, runtime: Runtime) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever connects could name any address as its own
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        lifespan="on",
        ws="none",
        loop="uvloop",
        http=functools.partial(Protocol, runtime=runtime),  # type: ignore[arg-type]  # it is called as a class is
    )
