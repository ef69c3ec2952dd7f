"""`gridmark get`: fetch what a job left behind, each file whole and checked, none outside of the folder it goes to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import click

from server.cli_shared import NUMBER_MAX, connect, fail, guarded, print_json, printing, say
from server.client import Client, ClientError, Json

JOB = click.IntRange(1, NUMBER_MAX)


class ArtifactError(ClientError):
    """A file that cannot be taken as it is; the message says why."""


@click.command()
@click.argument("job", type=JOB)
@click.argument("dest", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--force", is_flag=True, help="Replace files that are there with another content.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fetched as one JSON document.")
@guarded
def get(job: int, dest: Path | None, force: bool, as_json: bool) -> None:
    """Fetch the artifacts of a job into DEST [job-JOB], and print where each is.

    What is there already with the right content is not fetched again. Exit codes: 0 all are there, 1 one of them is not
    what it should be, 3 the server could not be reached or DEST not be written.

    Example: gridmark get 7 results
    """
    target = Path(f"job-{job}") if dest is None else dest
    with connect() as client:
        artifacts = client.get(f"/v1/jobs/{job}/artifacts")["artifacts"]
        if not artifacts:
            say(f"job {job} has left no artifacts; name what to keep with --artifact when it is run")
        try:
            fetched = []
            for artifact, path in _fetched(client, job, artifacts, target, force=force):
                fetched.append({**artifact, "file": str(path)})
                if not as_json:
                    with printing():
                        click.echo(path)
        except ArtifactError as error:
            fail(str(error), 1)
        except OSError as error:
            fail(f"cannot write {error.filename or target}: {error.strerror}; choose another place for the artifacts")
    if as_json:
        print_json(fetched)


def _fetched(
    client: Client, job: int, artifacts: list[Json], target: Path, *, force: bool
) -> Iterator[tuple[Json, Path]]:
    target.mkdir(parents=True, exist_ok=True)
    for artifact in artifacts:
        path = inside(target, artifact["path"])
        if not _is_there(path, artifact["sha256"], force=force):
            _fetch(client, f"/v1/jobs/{job}/artifacts/{quote(artifact['path'])}", path, artifact)
        yield artifact, path


def inside(folder: Path, relative: str) -> Path:
    """The place of an artifact; its folder is made.

    Raises:
        ArtifactError: its name leads out of `folder`, by itself or over a link that lies there.
    """
    pure = PurePosixPath(relative)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in relative:
        raise ArtifactError(f"the artifact {relative!r} would be written outside of {str(folder)!r}; nothing was")
    root = folder.resolve()
    path = folder.joinpath(*pure.parts)
    if not path.parent.resolve().is_relative_to(root):
        raise ArtifactError(f"the artifact {relative!r} would be written outside of {str(folder)!r}, over a link in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_there(path: Path, sha256: str, *, force: bool) -> bool:
    """Whether the file is there as it should be."""
    if not path.is_symlink() and not path.exists():
        return False
    if path.is_file() and not path.is_symlink():
        from server.client_upload import measure

        with path.open("rb") as file:
            if measure(file).sha256 == sha256:
                return True
    if force and (path.is_symlink() or path.is_file()):  # the link is replaced, not what it leads to
        return False
    raise ArtifactError(f"{str(path)!r} is there and is something else; fetch into another folder, or with --force")


def _fetch(client: Client, source: str, path: Path, artifact: Json) -> None:
    """Write beside its place, check, and only then put it there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".gridmark-")
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            sha256, size_bytes = client.fetch(source, file)
        if sha256 != artifact["sha256"]:
            raise ArtifactError(
                f"{artifact['path']!r} arrived with {size_bytes} bytes and the SHA-256 {sha256[:12]}…, "
                f"expected {artifact['size_bytes']} bytes and {artifact['sha256'][:12]}…; it was not kept"
            )
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
