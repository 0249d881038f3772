"""Where pictures may be written, and what is there after a full disk or a kill."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images
from labml_sd.images.writing import check_folder

ROOT = Path(__file__).parents[2]
PICTURE = Image.new("RGB", (4, 4), "red")


@contextmanager
def nothing_else_changes(folder: Path) -> Iterator[Path]:
    """A folder beside which there are others, and a file: none of them may change."""
    for name in ("target", "beside"):
        (folder / name).mkdir()
    (folder / "beside/file").write_text("years of work")
    before = sorted(path for path in folder.rglob("*") if "target" not in path.parts)
    yield folder / "target"
    assert (
        sorted(p for p in folder.rglob("*") if "target" not in p.relative_to(folder).parts)
        == before
    )
    assert (folder / "beside/file").read_text() == "years of work"


REFUSED_PREFIXES = {
    "up": "../",
    "up and aside": "../beside/",
    "absolute": "/tmp/",
    "a folder": "a/b",
    "a slash alone": "/",
    "backslash": "..\\",
    "backslash inside": "a\\b",
    "a drive": "C:",
    "a stream": "file:stream",
    "NUL": "a\0b",
    "a line break": "a\nb",
    "a return": "a\rb",
    "a tab": "a\tb",
    "a terminal code": "\x1b[2J",
    "delete": "a\x7f",
    "C1": "a\x9b",
    "right to left": "gnp.\u202e",
    "no width": "a\u200bb",
    "half a surrogate pair": "\ud800",
    "a byte that is not UTF-8": "\udcff",
    "a line separator": "a\u2028b",
    "CON": "CON.",
    "con": "con.a",
    "NUL device": "nul .",
    "LPT1": "lpt1.",
    "COM with a small one": "com\u00b9.",
    "too long": "x" * 250,
    "too long in bytes": "雪" * 90,
}


@pytest.mark.parametrize("prefix", REFUSED_PREFIXES.values(), ids=REFUSED_PREFIXES.keys())
def test_a_prefix_that_cannot_be_in_a_file_name_is_one_line(prefix, tmp_path):
    with nothing_else_changes(tmp_path) as folder:
        with pytest.raises(ImageError) as error:
            save_images([PICTURE], folder, prefix=prefix)
        assert str(error.value).isprintable()
        assert list(folder.iterdir()) == []


KEPT_PREFIXES = {
    "two dots": "..",
    "a dot": ".",
    "dots": "....",
    "a space": " ",
    "home": "~",
    "a variable": "$HOME",
    "a command": "$(reboot)`reboot`;",
    "a flag": "-rf ",
    "wild": "*?",
    "percent": "%2e%2e%2f",
    "a fraction slash": "..\u2044",
    "a division slash": "..\u2215",
    "a wide slash": "..\uff0f",
    "a wide backslash": "..\uff3c",
    "two dots in one": "\u2025",
    "CON alone": "CON",
    "a pattern": "(a+)+[",
    "braces": "{0.__class__}",
    "digits": "00000",
    "emoji": "🏠",
    "as long as it may be": "x" * 246,
}


@pytest.mark.parametrize("prefix", KEPT_PREFIXES.values(), ids=KEPT_PREFIXES.keys())
def test_a_prefix_that_looks_odd_stays_in_the_folder(prefix, tmp_path):
    with nothing_else_changes(tmp_path) as folder:
        paths = save_images([PICTURE, PICTURE], folder, prefix=prefix)
        assert paths == [folder / f"{prefix}00000.png", folder / f"{prefix}00001.png"]
        assert sorted(folder.iterdir()) == sorted(paths)


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(
    st.text(st.characters(exclude_categories=()), max_size=6)
    | st.text("./\\~:\0\n", max_size=6)
)
def test_any_prefix_writes_one_file_in_the_folder_or_is_refused(tmp_path_factory, prefix):
    folder = tmp_path_factory.mktemp("any")
    try:
        (path,) = save_images([PICTURE], folder / "target", prefix=prefix)
    except ImageError as error:
        assert str(error).isprintable()
        assert list(folder.rglob("*.*")) == []
    else:
        assert [p for p in folder.rglob("*") if p.is_file()] == [path]
        assert path.parent == folder / "target"


def taken(folder: Path, name: str) -> str:
    (folder / name).write_text("in the way")
    return str(folder / name)


REFUSED_FOLDERS = {
    "empty": lambda folder: "",
    "NUL": lambda folder: "a\0b",
    "half a surrogate pair": lambda folder: f"{folder}/\ud800",
    "too long": lambda folder: f"{folder}/{'x' * 300}",
    "a path too long": lambda folder: f"{folder}/{'x/' * 3000}",
    "a file": lambda folder: taken(folder, "a\nfile"),
    "below a file": lambda folder: taken(folder, "file") + "/below",
    "a device": lambda folder: "/dev/null",
    "the disk that is always full": lambda folder: "/dev/full",
    "below a device": lambda folder: "/dev/null/pictures",
    "of the kernel": lambda folder: "/proc/pictures",
    "nobody's home": lambda folder: "~nobody-of-this-name/pictures",
}


@pytest.mark.parametrize("make", REFUSED_FOLDERS.values(), ids=REFUSED_FOLDERS.keys())
def test_an_impossible_folder_is_one_line(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outdir = make(tmp_path)
    before = list(tmp_path.iterdir())
    with pytest.raises(ImageError) as error:
        save_images([PICTURE], outdir)
    assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "make",
    [
        make for name, make in REFUSED_FOLDERS.items() if name != "of the kernel"
    ],  # it says that it may be written
    ids=[name for name in REFUSED_FOLDERS if name != "of the kernel"],
)
def test_an_impossible_folder_is_refused_before_drawing(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outdir = make(tmp_path)
    with pytest.raises(ImageError):
        check_folder(outdir)


def test_a_broken_link_is_not_a_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("link", "loop"):
        with pytest.raises(ImageError, match="cannot write"):
            save_images([PICTURE], tmp_path / name)
        with pytest.raises(ImageError, match="cannot write"):
            check_folder(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert save_images([PICTURE], tmp_path / "link") == [tmp_path / "link/00000.png"]
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["00000.png"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert save_images([PICTURE], "~/pictures") == [tmp_path / "pictures/00000.png"]


@pytest.mark.parametrize("target", ["beside", "nowhere", "00000.png"])
def test_a_link_in_the_way_is_neither_followed_nor_replaced(tmp_path, target):
    (tmp_path / "beside").write_text("years of work")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/00000.png").symlink_to(tmp_path / target)
    (tmp_path / "out/00001.png").symlink_to(tmp_path / target)
    assert save_images([PICTURE], tmp_path / "out") == [tmp_path / "out/00002.png"]
    assert (tmp_path / "beside").read_text() == "years of work"
    assert (tmp_path / "out/00000.png").is_symlink() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "in_the_way", ["0" * 200 + "1.png", "9" * 250 + ".png", "٠٠٠٠٧.png", "00007.png.bak"]
)
def test_a_strange_name_in_the_folder_does_not_stop_the_numbers(tmp_path, in_the_way):
    (tmp_path / in_the_way).touch()
    assert save_images([PICTURE], tmp_path)[0].name == "00000.png"


def test_a_folder_named_like_a_picture_is_skipped(tmp_path):
    (tmp_path / "00003.png").mkdir()
    assert save_images([PICTURE], tmp_path)[0].name == "00004.png"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_without_links_no_picture_is_overwritten_either(tmp_path, monkeypatch, number):
    def unknown(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", unknown)
    monkeypatch.setattr("labml_sd.images.writing.next_number", lambda folder, prefix: 0)
    (tmp_path / "00000.png").write_text("another program's")
    assert save_images([PICTURE], tmp_path) == [tmp_path / "00001.png"]
    assert (tmp_path / "00000.png").read_text() == "another program's"
    assert read_picture(tmp_path / "00001.png").tobytes() == PICTURE.tobytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_without_links_a_failure_leaves_no_empty_file(tmp_path, monkeypatch):
    def fails(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fails)
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(ImageError, match="Input/output error"):
        save_images([PICTURE], tmp_path)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """What a full disk does, without one: writing stops after so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("img_format", ["png", "jpg", "webp"])
def test_a_disk_that_fills_up_while_writing_leaves_whole_pictures_only(
    tmp_path, photo, img_format
):
    (first,) = save_images([PICTURE], tmp_path, img_format=img_format)
    before = first.read_bytes()
    with (
        files_of_at_most(5000),
        pytest.raises(ImageError, match=r"cannot write to .*File too large"),
    ):
        save_images([photo(200, 200)], tmp_path, img_format=img_format)
    assert list(tmp_path.iterdir()) == [first] and first.read_bytes() == before


@pytest.mark.parametrize(
    "mode, size, img_format",
    [
        ("RGBA", (4, 4), "jpg"),
        ("F", (4, 4), "png"),
        ("RGB", (70_000, 1), "jpg"),
        ("RGB", (17_000, 1), "webp"),
    ],
)
def test_a_picture_that_a_format_cannot_hold_is_one_line(tmp_path, mode, size, img_format):
    with pytest.raises(
        ImageError, match=f"of mode {mode} and .* cannot be saved as {img_format}"
    ):
        save_images([Image.new(mode, size)], tmp_path, img_format=img_format)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, random, signal, sys, time
from PIL import Image
from labml_sd.images.writing import save_images

pictures = [Image.effect_noise((60 + 20 * i, 50), 90) for i in range(4)]
wait = random.Random(0)
for _ in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        while True:
            save_images(pictures, sys.argv[1], img_format="png")
            os.write(writer, b"x")
    os.read(reader, 1)  # it has begun
    time.sleep(wait.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader), os.close(writer)
"""


@pytest.mark.slow
def test_after_twenty_kills_every_picture_is_whole(tmp_path):
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=where, check=True, timeout=300)
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert len(visible) >= 80
    for path in visible:
        image = read_picture(path)  # reads every pixel and checks every sum
        assert image.height == 50 and path.stat().st_size > 1000
    hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert all(path.suffix == ".part" for path in hidden) and len(hidden) <= 20


TOGETHER = """
import json, sys
from PIL import Image
from labml_sd.images.writing import save_images
colour = int(sys.argv[2])
image = Image.new("L", (8, 8), colour)
print(json.dumps([save_images([image], sys.argv[1])[0].name for _ in range(50)]))
"""


@pytest.mark.slow
def test_two_programs_that_save_at_once_share_no_name(tmp_path):
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, tmp_path, str(colour)],
            env=where,
            stdout=subprocess.PIPE,
        )
        for colour in (10, 200)
    ]
    names = [json.loads(program.communicate()[0]) for program in programs]
    assert len({*names[0], *names[1]}) == 100 == len(list(tmp_path.iterdir()))
    for colour, written in zip((10, 200), names, strict=True):
        assert all(read_picture(tmp_path / name).getpixel((0, 0)) == colour for name in written)
