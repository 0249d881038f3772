import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler.finite import FiniteWatch

FINE = torch.zeros(1, 4, 2, 2)


def broken(value: float) -> torch.Tensor:
    return FINE.index_fill(3, torch.tensor([1]), value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_reported_at_once(value):
    with pytest.raises(
        GenerationError,
        match="the U-Net's eps holds NaN or Inf at step index 3 of 20 steps, t = 849",
    ):
        FiniteWatch(20, at_once=True).look(broken(value), "the U-Net's eps", 3, 849.0)


def test_a_late_report_names_the_first_place():
    watch = FiniteWatch(20, at_once=False)
    watch.look(FINE, "the U-Net's eps", 0, 999.0)
    watch.look(broken(float("nan")), "the sampler's x", 0, 999.0)
    watch.look(broken(float("nan")), "the U-Net's eps", 1, 949.0)
    with pytest.raises(
        GenerationError, match="the sampler's x holds NaN or Inf at step index 0"
    ):
        watch.report()


def test_a_finite_run_has_nothing_to_report():
    watch = FiniteWatch(20, at_once=False)
    watch.look(FINE, "the U-Net's eps", 0, 999.0)
    watch.report()
    watch.report()


def test_a_late_report_reads_nothing_before_it_is_asked():
    # A meta tensor has no values: reading one would raise.
    FiniteWatch(20, at_once=False).look(
        torch.zeros(1, 4, 2, 2, device="meta"), "the U-Net's eps", 0, 999.0
    )


def test_the_message_is_one_line():
    with pytest.raises(GenerationError) as caught:
        FiniteWatch(1, at_once=True).look(broken(float("nan")), "the sampler's x", 0, 1.5)
    assert "\n" not in str(caught.value)
