"""pytest plugin for slow, emulated processors: few random examples, and the levels in question.

``TERSOR_TEST_LEVELS`` names the instruction-set levels whose tests run; the others, and tests that
do not depend on the level, are left to real machines.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings

EXAMPLES = 5
LEVELS = os.environ.get("TERSOR_TEST_LEVELS", "avxvnni avx512 avx512vnni").split()


def shorten(item: pytest.Item) -> None:
    function = getattr(item, "obj", None)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if function is None or own is None:
        return
    function._hypothesis_internal_use_settings = settings(
        own,
        max_examples=min(EXAMPLES, own.max_examples),
        phases=(Phase.explicit, Phase.generate),
        database=None,
    )


def wanted(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get("isa") in LEVELS and parameters.get("threads", 2) == 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left = [item for item in items if not wanted(item)]
    items[:] = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=left)
    for item in items:
        shorten(item)
