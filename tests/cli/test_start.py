"""The process that the command line runs in: streams that are missing, or can show little."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from labml_sd.checkpoint import save_model
from labml_sd.cli.start import open_streams
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images
from labml_sd.pipeline.parameters import GenerationParameters, attach, read_parameters

ROOT = Path(__file__).parents[2]


def run(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell, in which $LABML is the program."""
    program = f"{sys.executable} -m labml_sd"
    where = {**os.environ, "PYTHONPATH": str(ROOT), "LABML": program, **environment}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=where, capture_output=True)


def test_a_console_that_cannot_show_a_prompt_gets_it_escaped(tmp_path):
    drawn = GenerationParameters(prompt="дом 🏠, café")
    save_images([attach(Image.new("RGB", (8, 8)), drawn)], tmp_path)
    done = run("$LABML inspect 00000.png", tmp_path, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (0, b"")
    shown = rb"prompt:            \u0434\u043e\u043c \U0001f3e0, caf" + b"\xe9"
    assert shown in done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_without_standard_streams_a_picture_is_drawn_all_the_same(model, tmp_path, closed):
    save_model(model, tmp_path / "m", layout="diffusers")
    done = run(f"$LABML txt2img 'a house' --model m --steps 1 {closed}", tmp_path)
    assert done.returncode == 0
    assert read_picture(tmp_path / "outputs/00000.png").size == (32, 32)
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"00000.png"}


@pytest.mark.slow
def test_prompts_are_read_from_standard_input(model, tmp_path):
    save_model(model, tmp_path / "m", layout="diffusers")
    drawing = "$LABML txt2img --prompt-file - --model m --steps 1"
    done = run(f"printf 'a house\\nдом\\n' | {drawing}", tmp_path)
    drawn = [read_parameters(tmp_path / p).prompt for p in done.stdout.decode().split()]
    assert (done.returncode, drawn) == (0, ["a house", "дом"])
    empty = run(f"{drawing} <&-", tmp_path)
    told = b"labml-sd: error: standard input holds no prompt: write one on each line\n"
    assert (empty.returncode, empty.stdout, empty.stderr) == (2, b"", told)


@pytest.mark.parametrize("command", ["txt2img a", "inspect a.png", "train", "env"])
def test_a_folder_that_was_deleted_is_one_line(tmp_path, command):
    (tmp_path / "gone").mkdir()
    done = run(f"cd gone && rmdir ../gone && $LABML {command}", tmp_path)
    told = b"labml-sd: error: the current folder was deleted: change to another one\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", told)


def test_missing_streams_are_replaced_and_others_kept(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    for name, stream in (("stdin", None), ("stdout", None), ("stderr", narrow)):
        monkeypatch.setattr(sys, name, stream)
    open_streams()
    print("дом")
    print("дом", file=sys.stderr)
    sys.stderr.flush()
    assert narrow.buffer.getvalue() == rb"\u0434\u043e\u043c" + b"\n"
    assert sys.stdin.read() == "" and sys.stdout.name == os.devnull
    sys.stdin.close()
    sys.stdout.close()


@pytest.mark.parametrize("line", ["--help >&-", "--help <&-", "--stepz >&-", "--stepz 2>&-"])
def test_help_and_errors_without_a_stream_have_the_same_exit_code(tmp_path, line):
    done = run(f"$LABML txt2img {line}", tmp_path)
    assert done.returncode == (2 if "stepz" in line else 0)
    assert b"Traceback" not in done.stderr and b"fault" not in done.stderr


@pytest.mark.parametrize("where", ["cp1252", "ascii", "utf-8"])
def test_help_and_errors_can_be_shown_in_any_encoding(tmp_path, where):
    done = run(
        "$LABML txt2img --help && $LABML txt2img --stepz дом", tmp_path, PYTHONIOENCODING=where
    )
    assert done.returncode == 2 and done.stdout.startswith(b"usage: labml-sd txt2img")
    assert b"unrecognized arguments" in done.stderr
