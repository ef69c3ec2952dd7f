"""A job as its renter writes it, in JSON or YAML, and how it becomes the record that the scheduler knows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scheduler import records
from scheduler.records import MIB, JobSpec
from server.schemas.base import (
    CpusMilli,
    Document,
    Duration,
    MomentMs,
    Name,
    Path,
    PriceUh,
    Region,
    Sha256,
    Size,
    VariableName,
    example,
)

ENVIRONMENT_BYTES = 256 << 10  #: all names and values; the kernel takes no more than 2 MiB with the arguments

Argument = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
Value = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
Secret = Annotated[str, Field(min_length=1, max_length=16_384, pattern=r"^[^\x00]*$")]
ImageName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}$")]
Url = Annotated[str, Field(pattern=r"^https?://[!-~]{1,2040}$")]
Metric = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}(\.[A-Za-z0-9_-]{1,40}){1,3}$")]


class ResourcesDocument(Document):
    """What the job occupies on its node."""

    model_config = Document.model_config | example(gpus=1, cpus=8, memory="32 GiB", disk="100 GB")

    gpus: int = Field(default=0, ge=0, le=64, description="whole GPUs")
    gpu_milli: int = Field(
        default=0, ge=0, le=999, description="thousandths of one GPU, instead of whole ones, where suppliers share"
    )
    cpus: CpusMilli = Field(default=1, validate_default=True, description="CPUs, to a thousandth")
    memory: Size = Field(default=512 * MIB, description="bytes, or with a unit")
    disk: Size = Field(default=1024 * MIB, description="bytes, or with a unit")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.gpus and self.gpu_milli:
            raise ValueError("takes whole GPUs or a share of one, not both")
        return self


class InputDocument(Document):
    """A file, or an archive to unpack, that is in the job's folder when it starts."""

    model_config = Document.model_config | example(
        to="data/train.tar", sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", unpack=True
    )

    to: Path | Literal["."] = Field(
        description="where, inside the job's folder; of an archive, the folder it is unpacked into"
    )
    sha256: Sha256
    url: Url | None = Field(default=None, description="without one, a blob uploaded before")
    size: Size | None = None
    unpack: bool = Field(default=False, description="a tar archive, gzipped or not")
    executable: bool = False

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.to == "." and not self.unpack:
            raise ValueError("only an archive goes to the job's folder itself")
        return self


class WorkDocument(Document):
    """How much there is to do, so that policies can count what a node needs for it."""

    model_config = Document.model_config | example(metric="matmul.bf16", amount=3.2e18)

    metric: Metric
    amount: float = Field(gt=0, le=1e40, allow_inf_nan=False, description="in the metric's unit times seconds")


class JobDocument(Document):
    """What a renter wants run."""

    model_config = Document.model_config | example(
        command=["python", "train.py", "--epochs", "3"],
        image="docker.io/pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime",
        resources={"gpus": 1, "cpus": 8, "memory": "32 GiB", "disk": "100 GB"},
        where="p05(matmul.bf16) >= 600 TFLOP/s and age(memory.triad) < 6h",
        max_price="2.50 $/h",
        max_duration="2h",
        retries=1,
        env={"SEED": "7"},
        artifacts=["model/*.safetensors"],
        checkpoint="checkpoints",
    )

    name: Name | None = Field(default=None, description="of your choice; without one, the program's")
    command: Annotated[list[Argument], Field(max_length=1024)] = Field(
        default_factory=list, description="program and arguments; only with an image may it be left out"
    )
    image: ImageName | None = Field(default=None, description="a container image; without one, a plain process")
    resources: ResourcesDocument = Field(default_factory=ResourcesDocument)
    where: str = Field(default="", max_length=4096, pattern=r"^[^\x00]*$", description="the offers' language")
    region: Region | None = None
    max_price: PriceUh | None = Field(default=None, description="of the share it takes, $/h or with its unit")
    max_duration: Duration | None = Field(default=None, description="of one attempt; seconds, or with a unit")
    deadline: MomentMs | None = Field(default=None, description="Unix seconds or RFC 3339; after it the job expires")
    retries: int = Field(default=0, ge=0, le=100)
    recover_on_exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=255)] = Field(
        default_factory=list
    )
    env: Annotated[dict[VariableName, Value], Field(max_length=256)] = Field(default_factory=dict)
    secrets: Annotated[dict[VariableName, Secret], Field(max_length=64)] = Field(
        default_factory=dict, description="like env, but sealed at rest and never shown again"
    )
    inputs: Annotated[list[InputDocument], Field(max_length=256)] = Field(default_factory=list)
    artifacts: Annotated[list[Path], Field(max_length=64)] = Field(
        default_factory=list, description="globs relative to the job's folder: what is kept of it"
    )
    checkpoint: Path | None = Field(default=None, description="a folder that travels to the next attempt")
    policy: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "finish_cheapest"
    work: WorkDocument | None = None
    priority: int = Field(default=0, ge=-100, le=100, description="among your own jobs; higher goes first")
    preemptible: bool = Field(
        default=False, description="a job that is not may take its place, after stop_grace; it is placed again"
    )
    network: bool = True
    read_only: bool = Field(default=False, description="containers: the root file system")
    stop_grace: Duration = Field(default=10, description="between the polite and the forceful end")
    hold: Duration = Field(default=600, description="frozen longer than this without contact, it is killed")
    log_quota: Size = Field(default=50 * MIB, description="per stream")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.command and self.image is None:
            raise ValueError("needs a command, or an image that brings one")
        if self.command and not self.command[0]:
            raise ValueError("the command's program is empty")
        if both := self.env.keys() & self.secrets.keys():
            raise ValueError(f"{', '.join(sorted(both))} is given in env and in secrets")
        pairs = (*self.env.items(), *self.secrets.items())
        if sum(len(name) + len(value.encode()) for name, value in pairs) > ENVIRONMENT_BYTES:
            raise ValueError(f"env and secrets are larger than {ENVIRONMENT_BYTES} bytes together")
        if len({found.to for found in self.inputs if not found.unpack}) < sum(not one.unpack for one in self.inputs):
            raise ValueError("two inputs go to the same place")
        if self.stop_grace > 3600:
            raise ValueError("stop_grace is at most an hour")
        return self

    def spec(self) -> JobSpec:
        """The record, with every default filled in; of secrets only the names."""
        resources = self.resources
        return JobSpec(
            name=self.name or _name(self.command, self.image),
            command=tuple(self.command),
            image=self.image,
            resources=records.Resources(
                gpus=resources.gpus,
                gpu_milli=resources.gpu_milli,
                cpu_milli=resources.cpus,
                memory_bytes=resources.memory,
                disk_bytes=resources.disk,
            ),
            where=self.where,
            region=self.region,
            max_price_uh=self.max_price,
            max_duration_s=self.max_duration,
            deadline_ms=self.deadline,
            retries=self.retries,
            recover_on_exit_codes=tuple(sorted(set(self.recover_on_exit_codes))),
            env=dict(self.env),
            secrets=tuple(sorted(self.secrets)),
            inputs=tuple(_input(one) for one in self.inputs),
            artifacts=tuple(self.artifacts),
            checkpoint=self.checkpoint,
            policy=self.policy,
            work=None if self.work is None else records.Work(metric=self.work.metric, amount=self.work.amount),
            priority=self.priority,
            preemptible=self.preemptible,
            network=self.network,
            read_only=self.read_only,
            stop_grace_s=self.stop_grace,
            hold_s=self.hold,
            log_quota_bytes=self.log_quota,
        )


def _input(document: InputDocument) -> records.Input:
    return records.Input(
        to=document.to,
        sha256=document.sha256,
        url=document.url,
        size_bytes=document.size,
        unpack=document.unpack,
        executable=document.executable,
    )


def _name(command: list[str], image: str | None) -> str:
    """A name from the program's or the image's own, with what a name may not hold replaced."""
    source = command[0] if command else image or ""
    last = source.rstrip("/").rpartition("/")[2]
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in last)
    return kept.lstrip("._-")[:100] or "job"
