"""The examples in docstrings: each runs and prints what it says."""

import doctest
import importlib
import pkgutil
import warnings

import pytest

import tersor

# Shared libraries and the command line are no modules to import.
PASSED_OVER = ("_core", "libtersor", "__main__")


def modules():
    for module in pkgutil.walk_packages(tersor.__path__, "tersor."):
        if not any(part in PASSED_OVER for part in module.name.split(".")):
            yield module.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} needs a package that is not installed: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.testmod(module)
    assert result.failed == 0
