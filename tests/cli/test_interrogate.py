import pytest

from labml_sd.cli import interrogate as module
from labml_sd.cli.main import main
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for index, path in enumerate(paths):
        draw_scene(Scene.sample(31, index), 128).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main(["interrogate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def test_the_prompt_of_a_picture_is_printed(run, pictures):
    assert run(pictures[0], "--device", "cpu") == (
        0, [Scene.sample(31, 0).caption(full=True)], []
    )  # fmt: skip


def test_of_several_pictures_each_has_a_line_with_its_name(run, pictures):
    code, out, err = run(*pictures)
    prompts = [Scene.sample(31, index).caption(full=True) for index in range(2)]
    assert (code, err) == (0, [])
    assert out == [f"{path}\t{prompt}" for path, prompt in zip(pictures, prompts, strict=True)]


def test_one_that_cannot_be_read_does_not_stop_the_others(run, pictures, tmp_path):
    code, out, err = run(tmp_path / "none.png", pictures[0])
    assert code == 2 and len(out) == 1
    assert "none.png does not exist" in err[0]
    assert err[1] == "labml-sd: error: 1 of 2 pictures could not be read"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mode", "best"], "one way only"),
        (["--model", "nowhere"], "nowhere: is not a folder"),
        (["--phrases", "lists"], "the tiny model takes none"),
        (["--model", "openai/clip", "--mode", "worst"], "expected fast, classic, best"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(run, pictures, flags, message):
    code, out, (line,) = run(pictures[0], *flags)
    assert (code, out) == (2, []) and message in line


def test_all_flags_reach_the_models(run, pictures, monkeypatch):
    calls = []
    monkeypatch.setattr(
        module, "load_interrogator", lambda *args, **options: calls.append((args, options))
    )
    monkeypatch.setattr(
        module, "interrogate", lambda *args, **options: calls.append(options) or "a\x1bcat"
    )
    flags = "--clip owner/clip --blip owner/blip --phrases lists --cache kept --mode best"
    code, out, _ = run(
        pictures[0], *flags.split(), "--device", "cpu", "--dtype", "fp16", "--max-pixels", 9
    )
    assert code == 0 and out == ["a\\x1bcat"]
    names = {"caption_model": "owner/blip", "phrases": "lists", "cache": "kept"}
    loaded, asked = calls
    assert loaded == (("owner/clip",), {**names, "device": "cpu", "dtype": "float16"})
    assert asked == {"mode": "best", "max_pixels": 9, "progress": False}
