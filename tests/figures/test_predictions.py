import numpy as np
import pytest
import torch

from labml_sd.figures import eps_arrows
from labml_sd.figures import predictions as module

DATA = torch.tensor([[1.0, 1.0], [-2.0, 0.5]])
X, CLEANED, X0 = (torch.tensor([[3.0, 2.0], [0.0, -1.0]]) / k for k in (1, 2, 4))


@pytest.fixture
def panels(monkeypatch):
    figures = []
    original = module.from_figure
    monkeypatch.setattr(
        module,
        "from_figure",
        lambda figure, alt: figures.append(figure) or original(figure, alt),
    )
    eps_arrows(DATA, {"early": (X, CLEANED, X0), "late": (X0, X0, X0)}, alt="")
    return figures[0].axes


def test_an_arrow_leads_from_each_noisy_point_to_where_its_noise_is_gone(panels):
    arrows = [(text.xyann, text.xy) for text in panels[0].texts if text.arrow_patch]
    np.testing.assert_allclose([start for start, _ in arrows], X.numpy())
    np.testing.assert_allclose([end for _, end in arrows], CLEANED.numpy())


def test_a_dotted_line_leads_on_to_the_prediction(panels):
    dotted = [line.get_xydata() for line in panels[0].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, torch.stack([CLEANED, X0], dim=1).numpy())
    np.testing.assert_allclose(panels[0].collections[0].get_offsets(), X0.numpy())


def test_the_data_are_in_every_panel_on_one_scale(panels):
    for panel in panels:
        np.testing.assert_allclose(panel.collections[1].get_offsets(), DATA.numpy())
        assert panel.get_xlim() == panel.get_ylim() == pytest.approx((-3.3, 3.3))
    assert [panel.get_title() for panel in panels] == ["early", "late"]
