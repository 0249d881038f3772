"""One field is all that a setting needs: what is said of it elsewhere is derived from it."""

import inspect
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import ForwardRef, Unpack

import pytest
from PIL import Image

from labml_sd.cli import main as cli
from labml_sd.errors import GenerationError, PromptError
from labml_sd.pipeline import img2img, inpaint, outpaint, txt2img
from labml_sd.pipeline.parameters import (
    GenerationParameters,
    parameters_of,
    parse_json,
    parse_text,
)
from labml_sd.pipeline.request import make_request
from labml_sd.sampler import DDIM, SAMPLERS
from labml_sd.sampler.spacing import SPACINGS
from labml_sd.settings import Settings, SettingsDict, check_settings, described, takes_settings
from labml_sd.settings.kinds import Kind, number, whole
from labml_sd.settings.settings import SAMPLER_TITLES, SPACING_TITLES, setting


def plain(annotation: object) -> object:
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation


def test_the_typed_dictionary_has_the_fields_of_settings():
    types = {name: plain(type) for name, type in SettingsDict.__annotations__.items()}
    assert types == {f.name: f.type for f in fields(Settings)}
    assert not SettingsDict.__required_keys__


PIPELINES = pytest.mark.parametrize("pipeline", [txt2img, img2img, inpaint, outpaint])
WITH_A_MASK = {"fill", "mask_blur", "only_masked"}


@PIPELINES
def test_a_signature_lists_every_setting_with_its_default_and_type(pipeline):
    shown = inspect.signature(pipeline).parameters
    known = described(pipeline.__name__)
    assert (described().keys() - known.keys() == WITH_A_MASK) == (
        "paint" not in pipeline.__name__
    )
    for f in (f for f in fields(Settings) if f.name in known):
        parameter = shown[f.name]
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert (parameter.default, parameter.annotation) == (f.default, f.type)
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())


@PIPELINES
def test_a_docstring_describes_every_setting(pipeline):
    text = inspect.getdoc(pipeline)
    for name, about in described(pipeline.__name__).items():
        assert f"- `{name}` = {about.default!r}: {about.help}" in text


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_every_default_passes_its_own_check(name):
    default = described()[name].default
    assert getattr(check_settings({name: default}, "inpaint"), name) == default


@pytest.mark.parametrize("name", sorted(WITH_A_MASK))
@pytest.mark.parametrize("task", ["txt2img", "img2img"])
def test_a_setting_of_another_task_is_refused_by_its_name(name, task):
    with pytest.raises(GenerationError, match=f"{name} is a setting of inpaint and outpaint"):
        check_settings({name: described()[name].default}, task)


def test_no_two_settings_share_a_flag_or_a_key():
    flags = [flag for about in described().values() for flag in about.flags]
    keys = [key for about in described().values() for key in about.text_keys]
    assert len(flags) == len(set(flags)) and len(keys) == len(set(keys))


def test_every_sampler_has_a_title():
    assert set(SAMPLER_TITLES) == set(SAMPLERS)
    assert len(set(SAMPLER_TITLES.values())) == len(SAMPLERS)


def test_every_spacing_that_others_know_has_a_title():
    assert set(SPACINGS) - set(SPACING_TITLES) == {"leading", "quadratic"}
    assert len(set(SPACING_TITLES.values())) == len(SPACING_TITLES)


def test_what_is_left_out_has_its_default():
    assert check_settings({}) == Settings()


def test_values_are_brought_to_one_type():
    made = check_settings({"guidance_scale": 3, "guidance_interval": [0, 5]})
    assert repr(made.guidance_scale) == "3.0" and repr(made.guidance_interval) == "(0.0, 5.0)"


def test_a_sampler_object_is_kept():
    assert check_settings({"sampler": DDIM(eta=0.5)}).sampler == DDIM(eta=0.5)


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("stepz", "steps"),
        ("guidance", "guidance_scale"),
        ("cfg_scale", "guidance_scale"),
        ("n_samples", "n_images"),
        ("num_inference_steps", "steps"),
        ("num_images_per_prompt", "n_images"),
        ("callback_on_step_end", "on_step"),
        ("generator", "seed"),
        ("eta", "sampler"),
        ("on_stepp", "on_step"),
        ("strengt", "strength"),
        ("", ""),
        ("a\nb" * 100, ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(GenerationError, match="unknown setting") as caught:
        check_settings({name: 1})
    message = str(caught.value)
    assert f"did you mean '{nearest}" in message and "There are negative_prompt, " in message
    assert message.isprintable()


def test_strength_is_not_a_setting_of_txt2img(model):
    with pytest.raises(GenerationError, match="strength is a setting of img2img and inpaint"):
        txt2img(model, "a house", strength=0.5)


@pytest.mark.parametrize("pipeline", [txt2img, img2img, inpaint])
def test_every_pipeline_refuses_an_unknown_name(model, photo, pipeline):
    inputs = {txt2img: [], img2img: [photo(16, 16)], inpaint: [photo(16, 16)] * 2}[pipeline]
    with pytest.raises(GenerationError, match="did you mean 'steps'"):
        pipeline(model, "a house", *inputs, stepz=3)


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_none_is_taken_where_it_is_described(name):
    if described()[name].none:
        assert getattr(check_settings({name: None}, "inpaint"), name) is None
    else:
        with pytest.raises((GenerationError, PromptError), match=f"^{name} is .*None"):
            check_settings({name: None}, "inpaint")


KINDS: dict[str, tuple[Kind, list[object], list[object]]] = {
    "whole numbers": (whole(1, 3), [1, 3], [0, 4, 1.0, True, "1", None, 10**5000]),
    "whole numbers without end": (whole(0), [0, 10**400], [-1, 0.5, float("inf")]),
    "numbers": (number("x"), [0, -1.5, 1e300], [True, "1", float("nan"), 10**400, 1j]),
    "shares": (number("x", 0, 1), [0, 0.5, 1], [-1e-9, 1.001, float("inf"), None]),
}


@pytest.mark.parametrize("kind, good, bad", KINDS.values(), ids=KINDS)
def test_a_kind_takes_its_range_and_nothing_else(kind, good, bad):
    for value in good:
        assert kind.check("it", value) == value
        assert type(kind.check("it", value)) is kind.word
    for value in bad:
        with pytest.raises(GenerationError, match=r"^it is .*: give "):
            kind.check("it", value)


@dataclass(frozen=True, kw_only=True)
class More(Settings):
    """Settings with a field more, as a later version has."""

    token_skip: int = setting(
        1,
        "last layers of the text encoder to skip, 1 to 12",
        whole(1, 12),
        also=("--skip",),
        off=1,
    )


@pytest.fixture
def one_more(monkeypatch):
    """The package as it would be with one more field in `Settings`, and no other change."""
    monkeypatch.setattr("labml_sd.settings.calls.Settings", More)


def test_a_new_field_is_a_keyword_of_the_pipelines(one_more):
    @takes_settings
    def draw(model: object, **settings: Unpack[SettingsDict]) -> None:
        """Draw."""

    assert inspect.signature(draw).parameters["token_skip"].default == 1
    assert (
        "- `token_skip` = 1: last layers of the text encoder to skip, 1 to 12" in draw.__doc__
    )


def test_a_new_field_is_checked(one_more):
    assert check_settings({"token_skip": 2}).token_skip == 2
    with pytest.raises(
        GenerationError, match="token_skip is 13: give a whole number from 1 to 12"
    ):
        check_settings({"token_skip": 13})


@pytest.mark.parametrize("flag", ["--token-skip", "--token_skip", "--skip"])
def test_a_new_field_is_a_flag(one_more, model, monkeypatch, capsys, tmp_path, flag):
    given = {}
    monkeypatch.setattr("labml_sd.cli.draw.load_model", lambda *_, **__: model)
    picture = Image.new("RGB", (8, 8))
    draw = lambda *_, **named: given.update(named) or [picture]  # noqa: E731
    monkeypatch.setattr("labml_sd.cli.draw.txt2img", draw)
    line = ["txt2img", "a house", flag, "2", "--seed", "1", "--outdir", str(tmp_path)]
    assert cli.main(line) == 0 and given["token_skip"] == 2
    with pytest.raises(SystemExit):
        cli.main(["txt2img", "--help"])
    assert "--token-skip N" in capsys.readouterr().out


def test_a_new_field_is_written_into_pictures_and_read_back(one_more, model):
    request = make_request(model, ["a", "b"], {"token_skip": 2, "seed": 7})
    facts = {"task": "txt2img", "size": (32, 48), "model": "m", "model_hash": None}
    first, second = parameters_of(request, dtype="float32", **facts)
    assert (first.token_skip, second.token_skip, second.seed) == (2, 2, 8)
    assert ", Token skip: 2, " in first.to_text()
    assert '"token_skip": 2' in first.to_json()
    assert parse_json(first.to_json()) == first
    assert parse_text(first.to_text()).token_skip == 2


def test_a_new_field_that_changes_nothing_is_not_written(one_more, model):
    facts = {"task": "txt2img", "size": (32, 48), "model": "m", "model_hash": None}
    (one,) = parameters_of(make_request(model, "a", {}), dtype="float32", **facts)
    assert "Token skip" not in one.to_text() and "token_skip" not in one.settings


def test_a_picture_of_an_older_version_has_no_value_for_it(one_more):
    assert parse_json('{"prompt": "a", "steps": 3}').token_skip is None
    assert GenerationParameters().token_skip is None


def test_settings_are_listed_without_pytorch():
    code = "import sys, labml_sd.settings; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
