import pytest
import torch

from labml_sd.evaluation.frechet import frechet_distance, principal_axes


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_of_a_set_from_itself_is_zero():
    assert frechet_distance(rows(50, 6, 0), rows(50, 6, 0)) == pytest.approx(0.0, abs=1e-9)


def test_the_distance_of_a_shift_is_its_squared_length():
    x = rows(50, 6, 0)
    assert frechet_distance(x, x + 2.0) == pytest.approx(6 * 4.0, abs=1e-9)


def test_one_axis_is_the_difference_of_the_deviations():
    x, y = rows(40, 1, 0), rows(70, 1, 1)
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.holds("labml_sd.evaluation.frechet.frechet_distance")
def test_any_covariances_agree_with_the_eigenvalues_of_their_product():
    x, y = rows(60, 5, 2) @ rows(5, 5, 3), rows(80, 5, 4) @ rows(5, 5, 5) + 1.0
    a, b = torch.cov(x.T), torch.cov(y.T)
    roots = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
    means = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    expected = means + a.trace() + b.trace() - 2 * roots
    assert frechet_distance(x, y) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected.item(), rel=1e-9)


def test_fewer_rows_than_columns_give_a_number():
    assert frechet_distance(rows(3, 8, 0), rows(3, 8, 1)) > 0.0


def test_on_their_own_axes_features_have_mean_0_and_covariance_1():
    x = rows(80, 6, 6) @ rows(6, 6, 7) + 3.0
    points = principal_axes(x, 4)(x)
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(torch.cov(points.T), torch.eye(4, dtype=torch.float64))


def test_the_axes_are_those_of_the_greatest_variance():
    stretched = rows(200, 3, 8) * torch.tensor([0.1, 5.0, 1.0], dtype=torch.float64)
    axes = principal_axes(stretched, 2)
    assert axes.directions.abs().argmax(dim=0).tolist() == [2, 1]


def test_axes_without_variance_are_left_out():
    flat = torch.cat([rows(20, 2, 9), torch.ones(20, 3, dtype=torch.float64)], dim=1)
    assert principal_axes(flat, 5).directions.shape == (5, 2)


def test_on_a_few_axes_two_samples_of_one_distribution_are_close():
    world = rows(256, 256, 10)
    first, second, reference = (rows(500, 256, seed) @ world for seed in (11, 12, 13))
    axes = principal_axes(reference, 16)
    assert (
        frechet_distance(axes(first), axes(second))
        < 0.5
        < 5.0
        < frechet_distance(first, second)
    )
