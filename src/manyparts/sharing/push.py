"""Upload an agent or a dataset to the Hugging Face Hub, with a card; nothing else of its folder."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from manyparts.agents.loading import load, load_system
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.hub import Kind
from manyparts.core.printing import first_of
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.links import link_or_copy
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.errors import read_json
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.run_files import AGENT_FILES, resolve, run_of
from manyparts.planners import MppiConfig, PlannerConfig
from manyparts.sharing.card import Acts, evaluated, model_card

_REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
_DATASET_FILES = ("README.md", "meta/*", "data/*", "videos/*", "images/*")
_DATASET_VERSION = "v3.0"  # a tag that LeRobot asks for
_LICENSE = "apache-2.0"
_INFO = "meta/info.json"


@dataclass(frozen=True)
class Shared:
    """What was uploaded."""

    kind: Kind
    """"model" for an agent, or "dataset"."""
    repository: str
    """"owner/name"."""
    files: tuple[str, ...]
    """The paths of the files."""
    commit: str
    """The address of the commit."""


@contextmanager
def staged(
    source: str | Path, repository: str, *, license: str | None = None
) -> Iterator[tuple[Kind, Path, tuple[str, ...]]]:
    """Yield what an upload would upload: its kind, a folder, and the paths of the files in it.

    Args:
        source: A run, a checkpoint, an exported policy, or a LeRobotDataset.
        repository: "owner/name".
        license: Of an agent's weights, a name of the Hub's; None: apache-2.0. A dataset's card says
            its own.

    Raises:
        UserError: There is neither an agent nor a dataset of LeRobot v3.0, or a file leads out of
            it.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"{repository!r} names no repository; expected OWNER/NAME")
    path = path_of(source, "source")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if (path / _INFO).is_file():
            if license is not None:
                raise UserError(f"--license is for weights; say it in {path / 'README.md'}")
            _require_version(path)
            files = _gathered(path, folder, _DATASET_FILES)
            yield "dataset", folder, files
            return
        checkpoint = resolve(path)
        info = load_info(checkpoint)
        _gathered(checkpoint, folder, AGENT_FILES)
        card = model_card(
            repository,
            info,
            evaluated(run_of(path), checkpoint),
            license=license or _LICENSE,
            acts=_acts(checkpoint, info),
            steps=int(number) if (number := checkpoint.resolve().name).isdecimal() else None,
        )
        # A file of its own: the one that is there may be a second name of the source's.
        write_atomically(folder / "README.md", card.encode())
        files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))
        yield "model", folder, tuple(files)


def push(
    source: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    license: str | None = None,
    confirm: Callable[[Kind, tuple[str, ...]], None] = lambda kind, files: None,
) -> Shared:
    """Upload an agent or a dataset.

    Args:
        source: See `staged`.
        repository: "owner/name", which is made if it is not there.
        private: Whether a new one is private.
        revision: The branch; None: main.
        message: Of the commit; None: one that says what it is.
        license: See `staged`.
        confirm: Called with the kind and the files before anything is sent; an error of its ends
            the upload.

    Raises:
        UserError: See `staged`; or nobody is logged in, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    with staged(source, repository, license=license) as (kind, folder, files), _errors(repository):
        confirm(kind, files)
        hub = HfApi()
        hub.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(repository, repo_type=kind, branch=revision, exist_ok=True)
        commit: Any = hub.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=folder,
            revision=revision,
            commit_message=message or f"{kind} by manyparts",
            # Files of an upload before that this one has no more would be read with it.
            delete_patterns=list(_DATASET_FILES if kind == "dataset" else AGENT_FILES),
        )
        # LeRobot reads the commit of the tag, which would stay at the first upload. A trial on
        # another branch is not what all others read.
        if kind == "dataset" and revision in (None, "main"):
            with suppress(RevisionNotFoundError):
                hub.delete_tag(repository, repo_type=kind, tag=_DATASET_VERSION)
            hub.create_tag(
                repository, repo_type=kind, tag=_DATASET_VERSION, revision=str(commit.oid)
            )
    return Shared(kind, repository, files, str(commit.commit_url))


def _acts(checkpoint: Path, info: CheckpointInfo) -> Acts:
    """By what an agent acts, which loading it tells.

    Raises:
        UserError: It cannot be loaded at all.
    """
    body = info.embodiments[0].spec.embodiment if len(info.embodiments) > 1 else None
    ways: dict[Acts, PlannerConfig | None] = {"policy": None, "planner": MppiConfig()}
    for way, planner in ways.items():
        with suppress(UserError):
            load(checkpoint, embodiment=body, planner=planner)
            return way
    load_system(checkpoint)
    return "nothing"


def _require_version(dataset: Path) -> None:
    """Raise UserError for a dataset that LeRobot of today does not read, or that nobody reads."""
    version = read_json(dataset / _INFO).get("codebase_version")
    if version != _DATASET_VERSION:
        raise UserError(
            f"{dataset} is of LeRobot's version {str(version)[:20]!r}, and {_DATASET_VERSION} is "
            f"shared: `manyparts data convert {dataset} NEW` writes it"
        )
    EpisodeDataset.open(dataset)


def _gathered(source: Path, folder: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Link the files of patterns into a folder; their paths."""
    names = []
    root = source.resolve()
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source).as_posix()
        if file.is_dir() and file.is_symlink():
            if any(fnmatchcase(f"{name}/file", pattern) for pattern in patterns):
                raise UserError(f"{file} is a link to a folder; copy the folder there")
            continue
        if not file.is_file() or not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if not file.resolve().is_relative_to(root):
            raise UserError(f"{file} is a link that leads out of {source}; copy the file there")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            link_or_copy(str(file), str(target))
        except OSError:
            shutil.copyfile(file, target)
        names.append(name)
    if not names:
        raise UserError(f"{source} has none of {first_of(patterns, 5)}")
    return tuple(names)


@contextmanager
def _errors(repository: str) -> Iterator[None]:
    """Errors of the Hub's client as one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    login = "type `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError as error:
        raise UserError(f"nobody is logged in to the Hugging Face Hub: {login}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise UserError(f"the Hugging Face Hub refuses {repository}: {login}") from error
        line = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise UserError(f"the Hugging Face Hub refuses {repository}: {line}") from error
    except Exception as error:  # of its transport, or of the disk
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{repository} cannot be reached: {line}") from error
