"""A supervisor whose job is a container: made, paused, unpaused and removed through the docker SDK.

Run by its path; otherwise as supervisor.py, whose loop it uses. Larger than that one, because the SDK is.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/scheduler/")[0])

from scheduler.node.supervisor import supervise

if TYPE_CHECKING:
    from docker.models.containers import Container

CANNOT_START, NOT_FOUND = 126, 127
#: one call to the engine; a pause that takes longer has failed
CALL_S = 5.0
#: creating may unpack an image
CREATE_S = 120.0
WAIT_AGAIN_S = 0.5
_FRAME = struct.Struct(">BxxxL")  #: stream and length, before each piece of output (Docker's API, "attach")
ERR = 2


class JobContainer:
    """What the supervisor drives. `plan` holds socket, create (arguments of the SDK), stdin."""

    def __init__(self, plan: Mapping[str, Any], wake: Callable[[], None]) -> None:
        self._plan, self._wake = plan, wake
        self._code: int | None = None
        self._container: Container | None = None
        self._readers: list[threading.Thread] = []
        self.pid = 0
        self.out, self._out_write = os.pipe()
        self.err, self._err_write = os.pipe()

    def start(self, may_run: Callable[[], bool]) -> bool:
        """Create, listen, start if it still may run; what else keeps it from starting is told on its own stderr."""
        import docker
        from docker.errors import APIError, DockerException, NotFound

        client = docker.DockerClient(base_url=self._plan["socket"], timeout=CREATE_S)
        try:
            # left by a supervisor that died between creating and saying so
            with contextlib.suppress(NotFound):
                client.containers.get(self._plan["create"]["name"]).remove(force=True, v=True)
            self._container = client.containers.create(**_arguments(self._plan["create"]))
            self._listen()
            if not may_run():
                return False
            self._container.start()
            self._container.reload()
            self.pid = int(self._container.attrs["State"].get("Pid") or 0)
        except (APIError, DockerException, OSError) as error:
            explanation = str(getattr(error, "explanation", None) or error)
            os.write(self._err_write, f"gridmark: the container cannot be started: {explanation}\n".encode())
            self._code = NOT_FOUND if "not found" in explanation or "no such file" in explanation else CANNOT_START
            self._wake()
            return True
        client.api.timeout = CALL_S
        self._run(self._wait)
        return True

    def exit_code(self) -> int | None:
        """As a shell shows it; None while it runs."""
        return self._code

    def freeze(self) -> None:
        """Pause it; a container that the engine does not pause is killed, for it may not run on."""
        if not self._try(lambda container: container.pause()):
            self.kill()
            if self.pid and self._code is None:  # the engine itself does not answer
                with contextlib.suppress(OSError):
                    os.kill(self.pid, 9)

    def thaw(self) -> None:
        """Let it go on."""
        self._try(lambda container: container.unpause())

    def terminate(self) -> bool:
        """Ask its first process to end, by the signal its image names; False when the engine did not hear."""
        return self._try(lambda container: container.kill(signal=self._plan["stop_signal"]))

    def kill(self) -> None:
        """End it, paused or not."""
        self._try(lambda container: container.kill(signal="KILL"))
        # a paused one dies when it goes on; the signal is there before
        self._try(lambda container: container.unpause())

    def sweep(self) -> str:
        """Remove it; what the kernel ended for want of memory is said."""
        short = False
        if self._container is not None:
            if self._try(lambda container: container.reload()):
                short = bool(self._container.attrs["State"].get("OOMKilled"))
            if self._code is None:  # it never ran: what is attached to it would wait for ever
                self._try(lambda container: container.remove(force=True, v=True))
        for reader in self._readers:
            reader.join(CALL_S)
        for descriptor in (self._out_write, self._err_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._try(lambda container: container.remove(force=True, v=True))
        return "the kernel ended it for want of memory" if short else ""

    def _try(self, call: Callable[[Container], object]) -> bool:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        if self._container is None:
            return False
        try:
            call(self._container)
        except (DockerException, RequestException, OSError):
            return False
        return True

    def _listen(self) -> None:
        """Attach before it starts, so that nothing it prints is missed."""
        assert self._container is not None  # noqa: S101 - for the type checker
        wanted = {"stdout": 1, "stderr": 1, "stream": 1, "stdin": int(bool(self._plan["stdin"]))}
        attached = self._container.attach_socket(params=wanted)
        connection = getattr(attached, "_sock", attached)
        connection.settimeout(None)  # the SDK's own is for calls; a job may be silent for days
        if self._plan["stdin"]:
            connection.sendall(self._plan["stdin"].encode("utf-8", "surrogateescape"))
        self._run(lambda: self._pump(attached))

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        self._readers.append(thread)

    def _pump(self, attached: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            while len(head := _exactly(attached, _FRAME.size)) == _FRAME.size:
                stream, size = _FRAME.unpack(head)
                data = _exactly(attached, size)
                target = self._err_write if stream == ERR else self._out_write
                while data:
                    data = data[os.write(target, data) :]

    def _wait(self) -> None:
        """Until it has ended; an engine that starts anew is waited for."""
        from docker.errors import DockerException, NotFound
        from requests.exceptions import RequestException

        assert self._container is not None  # noqa: S101
        while self._code is None:
            try:
                said = self._container.client.api.wait(self._container.id, timeout=None)
                self._code = int(said["StatusCode"])
            except NotFound:
                os._exit(1)  # somebody removed it: nothing is known of its end, and the agent will say so
            except (DockerException, RequestException, OSError, ValueError, KeyError):
                time.sleep(WAIT_AGAIN_S)
        self._wake()


def _exactly(stream: Any, size: int) -> bytes:
    pieces = b""
    while len(pieces) < size:
        piece = stream.read(size - len(pieces))
        if not piece:
            break
        pieces += piece
    return pieces


def _arguments(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The SDK's own types, from plain ones."""
    from docker.types import DeviceRequest, Mount, Ulimit

    return {
        **plan,
        "mounts": [Mount(type="bind", **one) for one in plan["mounts"]],
        "ulimits": [Ulimit(**one) for one in plan["ulimits"]],
        "device_requests": [DeviceRequest(**one) for one in plan["device_requests"]],
    }


if __name__ == "__main__":
    supervise(int(sys.argv[1]), JobContainer)
