"""The least-squares problem of a layer against NumPy's solver."""

import numpy as np
import pytest

from tersor.reconstruction import Moments, normal_equations


def data(rows=400, columns=7, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, columns)) + 1).astype(np.float32)
    t = x @ rng.normal(size=(columns, outputs)) + rng.normal(size=(rows, outputs)) + 2
    return x, t.astype(np.float32), rng.normal(size=(outputs, columns)).astype(np.float32)


def seen(x, t):
    moments = Moments(x.shape[1], outputs=t.shape[1])
    moments.add(x, t)
    return moments


@pytest.mark.parametrize("centred", [True, False])
def test_target_and_bias_are_least_squares(centred):
    x, t, w = data()
    p = normal_equations(seen(x, t), w, centred=centred, ridge=1e-12)
    ones = np.ones((len(x), 1 if centred else 0))
    best = np.linalg.lstsq(np.hstack([x, ones]).astype(np.float64), t.astype(np.float64))[0].T
    np.testing.assert_allclose(p.target, best[:, :7], rtol=1e-3, atol=1e-4)
    if centred:
        np.testing.assert_allclose(p.best_bias(p.target), best[:, 7], rtol=1e-3, atol=1e-3)


def test_error_is_what_other_weights_add():
    x, t, w = data()

    def squares(weights):
        y = x @ np.float64(weights).T + p.best_bias(weights)
        return np.mean(np.sum((t - y) ** 2, axis=1))

    p = normal_equations(seen(x, t), w, ridge=1e-12)
    np.testing.assert_allclose(p.error(w), squares(w) - squares(p.target), rtol=1e-3)


def test_directions_without_data_keep_their_weights():
    x, t, w = data()
    x[:, 3] = 0
    x[:, 5] = x[:, 4]
    p = normal_equations(seen(x, t), w)
    np.testing.assert_allclose(p.target[:, 3], w[:, 3], rtol=1e-12)
    np.testing.assert_allclose(  # the sum is told by the data, the difference is not
        p.target[:, 4] - p.target[:, 5], w[:, 4] - w[:, 5], rtol=1e-3, atol=1e-3
    )


def test_without_targets_the_weights_are_the_target():
    x, _, w = data()
    moments = Moments(7)
    moments.add(x)
    p = normal_equations(moments, w)
    np.testing.assert_array_equal(p.target, w)
    np.testing.assert_allclose(p.hessian, np.cov(np.float64(x).T, bias=True), rtol=1e-4, atol=1e-4)
    moved = w + np.float32(0.5)
    np.testing.assert_allclose(
        p.best_bias(moved), (x @ (w - moved).T).astype(np.float64).mean(0), rtol=1e-4
    )


def test_inputs_that_do_not_vary():
    moments = Moments(2, outputs=1)
    moments.add(np.ones((5, 2)), np.full((5, 1), 3))
    p = normal_equations(moments, [[1, 1]])
    np.testing.assert_array_equal(p.target, [[1, 1]])
    np.testing.assert_allclose(p.best_bias([[1, 1]]), [1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"w": np.zeros((3, 6))}, r"w must have shape \(outputs, 7\), got \(3, 6\)"),
        ({"w": np.zeros((2, 7))}, "outputs must be 3, got 2"),
        ({"group": 1}, "group must be below 1, got 1"),
        ({"ridge": -1.0}, "ridge must be finite and >= 0, got -1"),
        ({"moments": Moments(7, outputs=3)}, "moments must hold rows, got none"),
    ],
)
def test_errors_name_the_value(arguments, text):
    x, t, w = data()
    with pytest.raises(ValueError, match=f"normal_equations: {text}"):
        normal_equations(**{"moments": seen(x, t), "w": w, **arguments})
    with pytest.raises(ValueError, match=r"best_bias: w must have shape \(3, 7\)"):
        normal_equations(seen(x, t), w).best_bias(np.zeros((2, 7)))
