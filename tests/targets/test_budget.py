"""Budgets: every form of input, exact misses, and messages that say by how much."""

import pickle

import pytest

from tersor.base.error import BudgetError
from tersor.targets import Budget


def test_every_form_reads_alike(tmp_path):
    expected = Budget(size=131072, accuracy_drop=0.01)
    path = tmp_path / "budget.yaml"
    path.write_text("size: 128 KB\naccuracy_drop: 1 %\n")
    forms = [
        {"size": "128 KB", "accuracy_drop": 0.01},
        "size=128KB,accuracy_drop=0.01",
        " size = 128 KB , accuracy_drop = 1 % ,",
        str(path),
        path,
        expected,
    ]
    for form in forms:
        assert Budget.parse(form) == expected
    assert Budget.parse(expected.to_dict()) == expected
    assert not Budget.parse(None)
    assert not Budget.parse("")
    assert expected


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"sice": 1}, r"unknown key 'sice' \(did you mean 'size'\?\)"),
        ("latancy=1ms", "did you mean 'latency'"),
        ("size", "must be lines such as"),
        ("size=1KB,size=2KB", "given twice"),
        ({"accuracy_drop": 3}, r"budget accuracy_drop must be a share in \[0, 1\]"),
        ({"latency": "5"}, "budget latency: no unit"),
    ],
)
def test_unreadable_budgets_are_refused(form, message):
    with pytest.raises(ValueError, match=message):
        Budget.parse(form)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="budget must be a mapping"):
        Budget.parse(7)
    with pytest.raises(TypeError, match="budget size must be a number or text"):
        Budget(size=[1])
    with pytest.raises(FileNotFoundError, match=r"budget file not found: nowhere\.yaml"):
        Budget.parse("nowhere.yaml")


def test_merge_prefers_the_other():
    merged = Budget(size=10, ram=20).merge(Budget(size=5, latency=1.0))
    assert merged == Budget(size=5, ram=20, latency=1.0)


def test_check_passes_at_the_limit():
    Budget(size=1024, accuracy_drop=0.01).check({"size": 1024, "accuracy_drop": -0.002})


def test_check_says_by_how_much():
    budget = Budget(size="128 KB", accuracy_drop="1 %", latency="5 ms")
    figures = {"size": 140 * 1024, "accuracy_drop": 0.02, "latency": 1e-3}
    with pytest.raises(BudgetError) as caught:
        budget.check(figures, {"size": "measured"})
    assert [miss.line for miss in caught.value.misses] == ["size", "accuracy_drop"]
    assert str(caught.value) == (
        "budget not met: size is 140 KB (measured), limit 128 KB: 12.0 KB or 9.4 % too much; "
        "accuracy_drop is 2.00 % (measured), limit 1.00 %: 1.00 points too much"
    )


def test_check_wants_every_figure():
    with pytest.raises(ValueError, match="asks for accuracy_drop, but there is no figure"):
        Budget(accuracy_drop=0.01).check({"size": 1})


def test_not_a_number_is_a_miss():
    assert len(Budget(latency=1.0).misses({"latency": float("nan")})) == 1


def test_error_survives_pickling():
    with pytest.raises(BudgetError) as caught:
        Budget(size=1).check({"size": 2}, {"size": "modelled"})
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.misses == caught.value.misses
    assert "modelled" in str(again)
