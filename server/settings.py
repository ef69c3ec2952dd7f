"""How a server is set up: where its data lies, what it listens on, and how much it takes from anybody."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.desk import ProvingSettings

PORT = 8700
MIB, GIB = 1 << 20, 1 << 30
#: fewer are searched in less time than it takes to ask another process, and are not worth its memory
FINDER_NODES = 1_000


class SettingsError(ValueError):
    """A set-up that cannot be served; the message says what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one caller may take; beyond it the answer is 413 or 429, never a slower server for the others."""

    document_bytes: int = MIB  #: of a JSON body
    sync_bytes: int = 16 * MIB  #: of an agent's request: 10,000 artifacts with long names fit
    report_packed_bytes: int = 16 * MIB
    report_bytes: int = 64 * MIB  #: unpacked
    log_append_bytes: int = MIB  #: of one request
    blob_bytes: int = 16 * GIB  #: of one blob, artifact or checkpoint
    blob_quota_bytes: int = 64 * GIB  #: of one account: what it uploaded and what its jobs left
    jobs_waiting: int = 10_000  #: of one account, not yet ended; as the two below, unless its own row says otherwise
    gpu_milli_held: int | None = None  #: by one account at once; None = as much as there is
    cpu_milli_held: int | None = None
    follows: int = 64  #: log streams an account may hold open
    account_requests_per_s: float = 200.0
    account_requests_burst: float = 1000.0
    address_requests_per_s: float = 500.0
    address_requests_burst: float = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is written down is kept, and how much of it."""

    events_days: int = 90  #: then they go to files in the folder `archive`, which an operator may remove
    logs_days: int = 30  #: after their attempt has ended
    logs_bytes: int = 64 * GIB  #: of all attempts; beyond it those that were added to longest ago go first
    transcripts_days: int = 30  #: of proofs; the newest, and what is listed or held against a node rests on, stay
    log_file_bytes: int = 512 * MIB  #: of the database's write-ahead log, until an alarm
    disk_free_bytes: int = 2 * GIB  #: of the data folder's disk, until an alarm
    check_hour_utc: int = 3  #: when the database is checked, every night


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All a server needs to know before it starts."""

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT  #: 0 = chosen by the kernel
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False  #: plain HTTP beyond this machine
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    proving: ProvingSettings = field(default_factory=lambda: ProvingSettings(on=True))
    judges: int = 2  #: transcripts that are judged at the same time, each in a process of one thread
    finder_nodes: int = FINDER_NODES  #: of a market whose offers are found in a process apart
    drain_s: float = 10.0  #: how long open requests may take to end when the server stops

    @property
    def encrypted(self) -> bool:
        """Whether it speaks TLS."""
        return self.tls_certificate is not None

    @property
    def beyond_loopback(self) -> bool:
        """Whether somebody on another machine could connect."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, whatever it stands for
            return True

    def check(self) -> None:
        """Refuse what must not be served.

        Raises:
            SettingsError: half a certificate, a file that is not there, or plain HTTP beyond this machine unasked.
        """
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("TLS needs a certificate and its key; only one of the two was given")
        for path in (self.tls_certificate, self.tls_key):
            if path is not None and not path.is_file():
                raise SettingsError(f"{path} is no file; TLS needs a certificate and its key in PEM form")
        if self.beyond_loopback and not self.encrypted and not self.insecure:
            raise SettingsError(
                f"plain HTTP on {self.host} would send tokens and logs in the clear; give --tls-certificate and "
                "--tls-key, or --insecure where something else encrypts"
            )
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"{self.port} is no port; 0 to 65535 are")
