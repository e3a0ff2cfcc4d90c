"""Versions of compressed networks in an MLflow model registry, with where each one comes from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..artifact import content_hash
from ..artifact import save as save_graph
from ..base.error import ArtifactError
from ..base.schema import check_integer
from ..compress.model import CompressedModel
from ..report.model import file_bytes, graph_of, recipe_name

_FILE = "model.tersor"
_TAG = "tersor."
_EXPERIMENT = "tersor"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a network in a registry.

    Attributes
    ----------
    name : str
    version : int
        From 1.
    aliases : tuple of str
        That point to it now.
    lineage : mapping of str to object
        Recipe, hash of the content and of the parent, versions, seed, target, bytes.
    metrics : mapping of str to float
        As they were registered.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    lineage: Mapping[str, Any]
    metrics: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain data.

        Returns
        -------
        dict
        """
        return {**asdict(self), "aliases": list(self.aliases)}


class Registry:
    """Register networks, give versions aliases, load what an alias points to, roll back.

    Versions, aliases and tags are MLflow's own, so that its user interface and REST interface show
    them; files are what ``compressed.save`` writes, and their hash is checked when they are loaded.

    Parameters
    ----------
    location : path-like or str
        A folder, which then holds an SQLite file and the artifacts; or what MLflow calls a tracking
        URI, such as ``"http://host:5000"`` or ``"sqlite:////data/registry.db"``.

    Raises
    ------
    ImportError
        If MLflow is not installed (``mlflow-skinny`` is enough; a folder also needs SQLAlchemy and
        Alembic).

    Examples
    --------
    >>> registry = Registry("models")  # doctest: +SKIP
    >>> version = registry.register(compressed, "digits", alias="staging")  # doctest: +SKIP
    >>> registry.promote("digits", version.version, "production")  # doctest: +SKIP
    >>> session = tersor.Session(registry.load("digits", "production"))  # doctest: +SKIP
    >>> registry.roll_back("digits", "production")  # doctest: +SKIP
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        text = os.fspath(location)
        self._artifacts: str | None = None
        if "://" not in text:
            folder = Path(text).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            text = f"sqlite:///{folder / 'registry.db'}"
            self._artifacts = (folder / "artifacts").as_uri()
        self.uri = text
        self._client = _client(text)

    def register(
        self,
        model: Any,
        name: str,
        *,
        alias: str | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredVersion:
        """Add a version of a network.

        Parameters
        ----------
        model : CompressedModel or Graph
        name : str
            Of the network: its versions count from 1.
        alias : str, optional
            That points to it from now on, as :meth:`promote` does.
        metrics : mapping of str to float, optional
            Such as ``{"accuracy": 0.87}``.
        tags : mapping of str to str, optional
            Other notes.

        Returns
        -------
        RegisteredVersion

        Raises
        ------
        ValueError
            If MLflow refuses a name.
        """
        lineage = _lineage(model)
        with tempfile.TemporaryDirectory() as folder, _as_value_error():
            path = Path(folder) / _FILE
            if isinstance(model, CompressedModel):
                model.save(path)
            else:
                save_graph(path, model, {"preprocess": graph_of(model).preprocess})
            lineage["file_hash"] = hashlib.sha256(path.read_bytes()).hexdigest()
            self._ensure(name)
            run = self._client.create_run(self._experiment(), run_name=name)
            self._client.log_artifact(run.info.run_id, str(path))
            for key, value in (metrics or {}).items():
                self._client.log_metric(run.info.run_id, key, float(value))
            self._client.set_terminated(run.info.run_id)
            made = self._client.create_model_version(
                name,
                source=f"{run.info.artifact_uri}/{_FILE}",
                run_id=run.info.run_id,
                tags={
                    **(tags or {}),
                    **{_TAG + key: _text(value) for key, value in lineage.items()},
                    _TAG + "metrics": json.dumps(dict(metrics or {})),
                },
            )
        if alias is not None:
            self.promote(name, int(made.version), alias)
        return self.version(name, int(made.version))

    def load(self, name: str, version: int | str = "production") -> CompressedModel:
        """Load a version.

        Parameters
        ----------
        name : str
        version : int or str
            Its number, or an alias.

        Returns
        -------
        CompressedModel
            Its lineage is also in :meth:`version`.

        Raises
        ------
        ValueError
            If there is no such network, version or alias.
        ArtifactError
            If the file is not the one that was registered.
        """
        found = self.version(name, version)
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as folder, _as_value_error():
            source = self._client.get_model_version_download_uri(name, str(found.version))
            path = Path(download_artifacts(artifact_uri=source, dst_path=folder))
            if hashlib.sha256(path.read_bytes()).hexdigest() != found.lineage.get("file_hash"):
                raise ArtifactError(
                    f"Registry: the file of {name} {found.version} is not the one that was "
                    "registered"
                )
            return CompressedModel.load(path)

    def version(self, name: str, version: int | str = "production") -> RegisteredVersion:
        """Return what is known of a version.

        Parameters
        ----------
        name : str
        version : int or str
            Its number, or an alias.

        Returns
        -------
        RegisteredVersion

        Raises
        ------
        ValueError
            If there is no such network, version or alias.
        """
        with _as_value_error():
            if isinstance(version, str):
                number = self._client.get_model_version_by_alias(name, version).version
            else:
                number = check_integer(version, least=1, what="Registry: version")
            found = self._client.get_model_version(name, str(number))
        return _version(found)

    def versions(self, name: str) -> list[RegisteredVersion]:
        """Return all versions of a network.

        Parameters
        ----------
        name : str

        Returns
        -------
        list of RegisteredVersion
            From the first to the last.
        """
        with _as_value_error():
            # The search does not tell aliases.
            numbers = sorted(int(one.version) for one in self._found(name))
            return [_version(self._client.get_model_version(name, str(n))) for n in numbers]

    def _found(self, name: str) -> Iterator[Any]:
        """What MLflow's search finds, page by page."""
        quote = '"' if "'" in name else "'"
        # MLflow cannot escape a quote: a name with both kinds is looked for here.
        wanted = "" if quote in name else f"name = {quote}{name}{quote}"
        token = None
        while True:
            page = self._client.search_model_versions(wanted, page_token=token)
            yield from (one for one in page if one.name == name)
            token = page.token
            if not token:
                return

    def promote(self, name: str, version: int | str, alias: str = "production") -> None:
        """Point an alias to a version, and remember where it pointed.

        Parameters
        ----------
        name : str
        version : int or str
            Its number, or another alias.
        alias : str

        Raises
        ------
        ValueError
            If there is no such network or version, or MLflow refuses the alias.
        """
        chosen = self.version(name, version)
        history = self.history(name, alias)
        if history[-1:] == [chosen.version]:
            return
        with _as_value_error():
            self._client.set_registered_model_alias(name, alias, str(chosen.version))
            self._remember(name, alias, [*history, chosen.version])

    def roll_back(self, name: str, alias: str = "production") -> RegisteredVersion:
        """Point an alias to where it pointed before.

        Parameters
        ----------
        name : str
        alias : str

        Returns
        -------
        RegisteredVersion
            Where it points now.

        Raises
        ------
        ValueError
            If it never pointed elsewhere.
        """
        history = self.history(name, alias)
        if len(history) < 2:
            raise ValueError(f"Registry: {alias!r} of {name} has no version before to roll back to")
        with _as_value_error():
            self._client.set_registered_model_alias(name, alias, str(history[-2]))
            self._remember(name, alias, history[:-1])
        return self.version(name, alias)

    def history(self, name: str, alias: str = "production") -> list[int]:
        """Return the versions that an alias pointed to, the present one last.

        Parameters
        ----------
        name : str
        alias : str

        Returns
        -------
        list of int
            Empty where the alias was never set here.

        Raises
        ------
        ValueError
            If there is no such network.
        """
        with _as_value_error():
            model = self._client.get_registered_model(name)
        return [int(n) for n in json.loads(model.tags.get(f"{_TAG}history.{alias}", "[]"))]

    def lineage(self, name: str, version: int | str = "production") -> list[RegisteredVersion]:
        """Return a version and those of its ancestors that are registered under the same name.

        Parameters
        ----------
        name : str
        version : int or str

        Returns
        -------
        list of RegisteredVersion
            The version, its parent (the network that it was compressed from), and so on.
        """
        chain = [self.version(name, version)]
        known = {one.lineage.get("content_hash"): one for one in self.versions(name)}
        while (parent := known.get(chain[-1].lineage.get("parent"))) and parent not in chain:
            chain.append(parent)
        return chain

    def _remember(self, name: str, alias: str, history: list[int]) -> None:
        self._client.set_registered_model_tag(name, f"{_TAG}history.{alias}", json.dumps(history))

    def _ensure(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        made = self._client.create_experiment(_EXPERIMENT, artifact_location=self._artifacts)
        return str(made)


def _client(uri: str) -> Any:
    try:
        from mlflow import MlflowClient

        if uri.startswith("sqlite:"):
            import alembic  # noqa: F401
            import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise ImportError(f"Registry needs {error.name}: pip install 'tersor[serve]'") from None
    # One file of some kilobytes needs no bar, and a new database no news.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _as_value_error() -> Iterator[None]:
    """MLflow's refusals in one sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise ValueError(f"Registry: {error.message}") from None


def _lineage(model: Any) -> dict[str, Any]:
    known = dict(getattr(model, "lineage", {}))
    found = {
        "recipe": recipe_name(model),
        "size_bytes": file_bytes(model),
        **{key: value for key, value in known.items() if value is not None},
    }
    if isinstance(model, CompressedModel):
        found["content_hash"] = model.content_hash
    else:
        # As the lineage of what is compressed from it names its parent.
        found["content_hash"] = content_hash(model)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _version(found: Any) -> RegisteredVersion:
    own = {key[len(_TAG) :]: text for key, text in found.tags.items() if key.startswith(_TAG)}
    metrics = json.loads(own.pop("metrics", "{}"))
    hashes = ("content_hash", "file_hash", "parent")  # digits only may look like a number
    lineage = {key: text if key in hashes else _value(text) for key, text in own.items()}
    return RegisteredVersion(
        name=found.name,
        version=int(found.version),
        aliases=tuple(sorted(found.aliases)),
        lineage=lineage,
        metrics={key: float(value) for key, value in metrics.items()},
    )


__all__ = ["RegisteredVersion", "Registry"]
