"""Fixtures shared by all rooms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import tersor
from tests import datasets

# Files that take minutes start first: else one of two processes ends with such a file alone.
LONGEST = ("tests/notebooks", "tests/codegen/test_boards.py", "tests/compress")

# How long an example takes says more about the machine than about the code.
settings.register_profile("tersor", deadline=None)
settings.load_profile("tersor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of LONGEST first; the order is otherwise kept."""

    def rank(item: pytest.Item) -> int:
        ranks = (i for i, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(ranks, len(LONGEST))

    items.sort(key=rank)


@pytest.fixture(params=tersor.supported_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once per instruction-set level of this CPU."""
    tersor.force_isa(request.param)
    yield request.param
    tersor.force_isa("")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test with one and with two threads."""
    tersor.set_threads(request.param)
    yield request.param
    tersor.set_threads(0)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of the trained networks (see datasets.py); skips where it is absent."""
    return datasets.find("models")


@pytest.fixture(scope="session")
def cifar10_test() -> datasets.Images:
    """The 10,000 test images of CIFAR-10 (JPEG), uint8 NHWC, with their labels."""
    return datasets.cifar10("test")


@pytest.fixture(scope="session")
def cifar10_train() -> datasets.Images:
    """The 50,000 training images of CIFAR-10 (JPEG), uint8 NHWC, with their labels."""
    return datasets.cifar10("train")
