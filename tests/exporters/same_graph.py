"""What makes two graphs the same: operators, attributes, types, parameters, constants."""

from __future__ import annotations

import numpy as np

_EXACT = ("dtype", "shape")


def parameters(q):
    if q is None:
        return None
    zero = None if q.zero_point_float is None else list(q.zero_point_float)
    return (
        [float(s) for s in q.scale], [int(z) for z in q.zero_point], zero,
        q.bits, q.signed, q.axis, q.group_size,
    )  # fmt: skip


def assert_same_edge(a, b):
    for name in _EXACT:
        assert getattr(a, name) == getattr(b, name), (a, b, name)
    assert parameters(a.qparams) == parameters(b.qparams), (a, b)
    assert a.is_constant == b.is_constant, (a, b)
    if a.is_constant:
        assert (a.name, a.origin or a.name) == (b.name, b.origin or b.name)
        np.testing.assert_array_equal(a.constant, b.constant)


def assert_same_attributes(a, b):
    """Files hold reals as float32."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, float):
            assert np.float32(value) == np.float32(b[name]), name
        else:
            assert value == b[name], name


def assert_same_graph(a, b, names=True):
    """`names` of nodes are compared too."""
    assert [n.op for n in a.nodes] == [n.op for n in b.nodes]
    left, right = a.edges, b.edges
    for m, n in zip(a.nodes, b.nodes, strict=True):
        assert not names or m.name == n.name
        assert_same_attributes(m.attributes, n.attributes)
        assert len(m.inputs) == len(n.inputs), m
        for i, j in zip([*m.inputs, *m.outputs], [*n.inputs, *n.outputs], strict=True):
            assert (i < 0) == (j < 0), m
            if i >= 0:
                assert_same_edge(left[i], right[j])
    for i, j in zip([*a.input_ids, *a.output_ids], [*b.input_ids, *b.output_ids], strict=True):
        assert left[i].name == right[j].name
        assert_same_edge(left[i], right[j])
    assert a.preprocess == b.preprocess
