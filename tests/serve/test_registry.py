"""The registry on a local MLflow store: register, load by alias, promote, roll back."""

from pathlib import Path

import numpy as np
import pytest

import tersor
from tersor.serve import Registry
from tersor.zoo import load_digits_data, load_digits_network

pytest.importorskip("mlflow")
pytest.importorskip("alembic")
pytestmark = [
    # MLflow's own use of SQLAlchemy and of its database files.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def models():
    network, images = load_digits_network(), load_digits_data("calibration")
    made = {"fp32": network}
    for recipe in ("fp16", "int8"):
        made[recipe] = tersor.compress(network, recipe=recipe, calibration=images, progress=False)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(folder, models):
    found = Registry(folder)
    for alias, (recipe, model) in zip((None, "staging", None), models.items(), strict=True):
        found.register(
            model, "digits", alias=alias, metrics={"accuracy": 0.99}, tags={"by": recipe}
        )
    return found


def test_versions_count_and_know_their_lineage(registry, models):
    versions = registry.versions("digits")
    assert [one.version for one in versions] == [1, 2, 3]
    assert [one.lineage["recipe"] for one in versions] == ["fp32", "fp16", "int8"]
    int8 = versions[2]
    assert int8.lineage["content_hash"] == models["int8"].content_hash
    assert int8.lineage["size_bytes"] == models["int8"].nbytes
    assert int8.lineage["parent"] == models["int8"].lineage["parent"]
    assert int8.lineage["seed"] == 0
    assert int8.metrics == {"accuracy": 0.99}
    assert int8.to_dict()["aliases"] == []
    assert [one.version for one in registry.lineage("digits", 3)] == [3, 1]


def test_load_by_version_and_alias(registry, models):
    loaded = registry.load("digits", 3)
    assert loaded.content_hash == models["int8"].content_hash
    assert registry.version("digits", "staging").version == 2
    assert registry.load("digits", "staging").content_hash == models["fp16"].content_hash
    x = load_digits_data().x[:16]
    plain = tersor.Session(registry.load("digits", 1))(x)
    np.testing.assert_array_equal(plain, tersor.Session(models["fp32"])(x))


def test_promote_and_roll_back(registry, folder):
    registry.promote("digits", 1)
    registry.promote("digits", "staging")
    registry.promote("digits", 3)
    registry.promote("digits", 3)
    assert registry.history("digits") == [1, 2, 3]
    assert registry.version("digits").version == 3
    # Another process, or a restart, sees the same.
    again = Registry(folder)
    assert again.roll_back("digits").version == 2
    assert registry.version("digits").aliases == ("production", "staging")
    assert registry.roll_back("digits").version == 1
    assert registry.load("digits").recipe is not None
    with pytest.raises(ValueError, match="no version before to roll back to"):
        registry.roll_back("digits")
    assert registry.version("digits").version == 1


def test_what_is_not_there_is_one_sentence(registry, models):
    for call in (
        lambda: registry.load("digits", 9),
        lambda: registry.load("digits", "nowhere"),
        lambda: registry.load("letters"),
        lambda: registry.promote("letters", 1),
        lambda: registry.roll_back("digits", "nowhere"),
    ):
        with pytest.raises(ValueError, match=r"^Registry: "):
            call()
    with pytest.raises(ValueError, match="version must be at least 1"):
        registry.load("digits", 0)


def test_a_changed_file_is_refused(registry, folder):
    files = sorted(Path(folder).glob("artifacts/**/*.tersor"), key=lambda path: path.stat().st_size)
    path = files[-1]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(tersor.ArtifactError, match="is not the one that was registered"):
        registry.load("digits", 1)
    path.write_bytes(content)
    registry.load("digits", 1)


@pytest.mark.parametrize(
    "name", ["o'brien", 'a "b"', "both ' and \"", "größe 1%", "a' or name like '%"]
)
def test_names_are_taken_as_they_are(registry, models, name):
    made = registry.register(models["int8"], name, alias="production")
    assert (made.name, made.version) == (name, 1)
    assert [one.name for one in registry.versions(name)] == [name]
    assert registry.load(name).content_hash == models["int8"].content_hash
    assert len(registry.versions("digits")) >= 3


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b"])
def test_names_that_mlflow_refuses_are_one_sentence(registry, models, name):
    with pytest.raises(ValueError, match="Registry: "):
        registry.register(models["int8"], name)
