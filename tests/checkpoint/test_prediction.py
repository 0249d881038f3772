from dataclasses import replace

import pytest
import torch
from torch import nn

from labml_sd.checkpoint import check, load_model, save_model
from labml_sd.checkpoint.prediction import check_prediction, from_yaml, probe
from labml_sd.config import sd_v2
from labml_sd.errors import CheckpointError
from labml_sd.unet import UNet

V = 'model:\n  params:\n    parameterization: "v"\n'
EPS = "model:\n  params:\n    linear_start: 0.00085\n"


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(model, path, layout="compvis")
    return path


def test_an_argument_comes_first_then_a_yaml_file_then_the_configuration(file):
    assert load_model(file).config.prediction == "eps"
    file.with_suffix(".yaml").write_text(V)
    assert load_model(file).config.prediction == "v"
    assert load_model(file, prediction="eps").config.prediction == "eps"


@pytest.mark.parametrize(("text", "found"), [(V, "v"), (EPS, "eps")])
def test_the_yaml_file_beside_a_checkpoint_is_read(tmp_path, text, found):
    (tmp_path / "a.yaml").write_text(text)
    assert from_yaml(tmp_path / "a.ckpt") == found
    assert from_yaml(tmp_path / "b.ckpt") is None
    assert from_yaml(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "model: 3", "{", "!!python/object/apply:os.system [ls]", "\0", "[" * 5000],
)
def test_another_yaml_file_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(
        CheckpointError, match="not a configuration of Stable Diffusion"
    ) as caught:
        from_yaml(tmp_path / "a.ckpt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["x", "velocity", 3, ""])
def test_another_prediction_is_refused(kind):
    with pytest.raises(CheckpointError, match="give eps or v"):
        check_prediction(kind)


def test_an_unknown_parameterization_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(V.replace('"v"', "x0"))
    with pytest.raises(CheckpointError, match="parameterization is 'x0'"):
        from_yaml(tmp_path / "a.ckpt")


class Answers(UNet):
    """A U-Net that gives `answer` times x."""

    def __init__(self, answer):
        nn.Module.__init__(self)
        self.config, self.answer = sd_v2().unet, nn.Parameter(torch.tensor(answer))

    def forward(self, x, t, cond):
        assert (x.shape, t.tolist(), cond.shape) == ((1, 4, 8, 8), [999], (1, 2, 1024))
        return self.answer * x


@pytest.mark.parametrize(("answer", "kind"), [(1.0, "eps"), (0.9, "eps"), (-1.5, "v")])
def test_a_network_that_gives_back_pure_noise_predicts_it(answer, kind):
    assert probe(Answers(answer)) == kind


def test_the_kind_of_a_saved_model_is_kept(make_v2, config, tmp_path):
    model = make_v2(config)
    model.config = replace(model.config, prediction="eps")
    save_model(model, tmp_path / "a.safetensors", layout="compvis")
    assert load_model(tmp_path / "a.safetensors").config.prediction == "eps"


def test_noise_cannot_be_predicted_where_there_is_nothing_else(make_v2, config, tmp_path):
    model = make_v2(config)
    schedule = replace(model.config.schedule, zero_snr=True)
    model.config = replace(model.config, schedule=schedule)
    save_model(model, tmp_path / "a.safetensors", layout="compvis")
    assert load_model(tmp_path / "a.safetensors").config.schedule.zero_snr
    with pytest.raises(CheckpointError, match="zero_snr needs prediction v"):
        load_model(tmp_path / "a.safetensors", prediction="eps")


def test_the_report_says_what_is_predicted_and_how_the_schedule_ends(make_v2, config, tmp_path):
    model = make_v2(config)
    model.config = replace(model.config, schedule=replace(config.schedule, zero_snr=True))
    save_model(model, tmp_path / "model")
    predicts = check(tmp_path / "model").predicts
    assert predicts == "predicts v, at 32x32 pixels; the schedule ends in pure noise"
