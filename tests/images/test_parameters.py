import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images.parameters import read_text, texts_of, with_texts, write_text
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images

PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=40)
FORMATS = ["png", "jpg", "webp"]
ENTRIES = {"Steps": 20, "Sampler": "Euler a", "Size": "8x8"}

DIFFICULT = {
    "newlines": "two\nlines\n\nand an empty one",
    "quotes": "she said \"no\", 'yes' \\ and left\t",
    "like entries": "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1",
    "like a negative prompt": "a house\nNegative prompt: not this one",
    "not Latin": "雪の中の赤い家 дом 🏠👩‍👩‍👧 e\u0301",
    "right to left": "בית אדום \u202e abc",
    "empty": "",
    "spaces": "  \t ",
    "control characters": "a\x00b\x1bc\x7f\x85d",
    "long": "a red house " * 500,
}
MEGABYTE = {
    "one letter": "a" * 2**20,
    "emoji": "🏠" * 2**18,
    "NUL": "\0" * 2**20,
    "lines": "Steps: 1, Seed: 2, Size: 8x8\n" * 2**15,
}
WEB_UI = (
    "a castle,\n(detailed:1.2)\n"
    "Negative prompt: lowres\nbad hands, text\n"
    "Steps: 28, Sampler: Euler a, Schedule type: Automatic, CFG scale: 6.5, Seed: 1234, "
    "Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, "
    'Lora hashes: "a: 1, b: 2", Version: v1.9.0'
)


def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize("img_format", FORMATS)
@pytest.mark.parametrize("text", DIFFICULT.values(), ids=DIFFICULT)
def test_both_texts_come_back_from_a_file(img_format, text, tmp_path):
    path = save_images([with_texts(picture(), text, "{}")], tmp_path, img_format=img_format)[0]
    assert texts_of(read_picture(path)) == (text, "{}")


@pytest.mark.parametrize("text", MEGABYTE.values(), ids=MEGABYTE)
def test_a_megabyte_comes_back_from_a_png(text, tmp_path):
    path = save_images([with_texts(picture(), text, "{}")], tmp_path)[0]
    assert texts_of(read_picture(path)) == (text, "{}")


def test_a_megabyte_comes_back_from_a_webp(tmp_path):
    image = with_texts(picture(), MEGABYTE["emoji"], "{}")
    path = save_images([image], tmp_path, img_format="webp")[0]
    assert texts_of(read_picture(path)) == (MEGABYTE["emoji"], "{}")


@pytest.mark.parametrize("img_format", FORMATS)
def test_the_text_of_another_program_survives_saving(img_format, tmp_path):
    image = picture()
    image.info["parameters"] = WEB_UI
    path = save_images([image], tmp_path, img_format=img_format)[0]
    assert texts_of(read_picture(path)) == (WEB_UI, None)


@pytest.mark.parametrize("img_format", FORMATS)
def test_a_picture_without_texts_is_saved_without_them(img_format, tmp_path):
    path = save_images([picture()], tmp_path, img_format=img_format)[0]
    assert texts_of(read_picture(path)) == (None, None)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif",
    [b"no such thing", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"],
    ids=["not EXIF", "an offset beyond the end", "empty"],
)
def test_a_damaged_exif_block_has_no_texts(exif, tmp_path):
    picture().save(tmp_path / "a.webp", exif=exif)
    assert texts_of(read_picture(tmp_path / "a.webp")) == (None, None)


def test_texts_are_added_to_a_copy():
    image = picture()
    image.info["dpi"] = (72, 72)
    copy = with_texts(image, "a", "b")
    assert image.info == {"dpi": (72, 72)} and copy.tobytes() == image.tobytes()
    assert copy.info == {"dpi": (72, 72), "parameters": "a", "labml_sd": "b"}


def test_what_is_not_text_is_not_read():
    image = picture()
    image.info |= {"parameters": b"bytes", "labml_sd": 3}
    assert texts_of(image) == (None, None)


def test_jpeg_holds_the_text_as_a_unicode_user_comment(tmp_path):
    image = with_texts(picture(), "дом", "{}")
    path = save_images([image], tmp_path, img_format="jpg")[0]
    exif = read_picture(path).getexif()
    assert exif.get_ifd(0x8769)[0x9286] == b"UNICODE\0" + "дом".encode("utf-16-be")
    assert (exif[0x0131], exif[0x010E]) == ("labml_sd", "{}")


def test_a_web_uis_jpeg_is_read(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + WEB_UI.encode("utf-16-be")
    picture().save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert texts_of(read_picture(tmp_path / "a.jpg")) == (WEB_UI, None)


def test_a_text_too_long_for_jpeg_is_one_line(tmp_path):
    with pytest.raises(ImageError, match="save as png"):
        save_images([with_texts(picture(), "x" * 40_000, "{}")], tmp_path, img_format="jpg")


def test_a_text_has_the_lines_of_the_web_uis():
    assert write_text("a house", "blurry", {"Steps": 20, "CFG scale": 7.0}) == (
        "a house\nNegative prompt: blurry\nSteps: 20, CFG scale: 7"
    )
    assert write_text("a house", "", {"Steps": 20}) == "a house\nSteps: 20"


def test_a_float_is_written_short_where_that_is_exact():
    values = {"a": 7.0, "b": 0.5, "c": 0.1 + 0.2}
    assert write_text("", "", values) == "\na: 7, b: 0.5, c: 0.30000000000000004"


def test_a_value_with_commas_or_colons_is_written_as_a_json_string():
    values = {"Sampler": "DDIM(eta=0.5, n=1)", "Model": 'a: "b"', "Version": "1"}
    text = write_text("p", "", values)
    assert text == 'p\nSampler: "DDIM(eta=0.5, n=1)", Model: "a: \\"b\\"", Version: 1'
    assert read_text(text) == ("p", "", values)


def test_half_a_surrogate_pair_is_written_as_a_question_mark():
    assert write_text("a \ud83c b", "", ENTRIES).startswith("a ? b\n")


def test_a_web_uis_text_is_read():
    prompt, negative_prompt, entries = read_text(WEB_UI)
    assert (prompt, negative_prompt) == (
        "a castle,\n(detailed:1.2)",
        "lowres\nbad hands, text",
    )
    assert entries == {
        "Steps": "28",
        "Sampler": "Euler a",
        "Schedule type": "Automatic",
        "CFG scale": "6.5",
        "Seed": "1234",
        "Size": "512x768",
        "Model hash": "6ce0161689",
        "Model": "v1-5",
        "Clip skip": "2",
        "Lora hashes": "a: 1, b: 2",
        "Version": "v1.9.0",
    }


@pytest.mark.parametrize("text", ["a: b, c: d", "only a prompt", "", "Negative prompt: x"])
def test_a_last_line_with_few_entries_belongs_to_the_prompt(text):
    prompt, negative_prompt, entries = read_text(text)
    assert entries == {} and prompt + negative_prompt in (text, "x")


def test_a_long_line_of_words_is_searched_once():
    assert read_text("word " * 100_000)[2] == {}


INJECTED = st.lists(
    st.sampled_from(["\n", "Steps: 1, Sampler: x, Seed: 1", "Negative prompt: ", '"', "\0"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
).map("".join)


@PROPERTY
@given(INJECTED, INJECTED)
def test_no_prompt_changes_the_entries(prompt, negative_prompt):
    entries = read_text(write_text(prompt, negative_prompt, ENTRIES))[2]
    assert entries == {key: str(value) for key, value in ENTRIES.items()}


@PROPERTY
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_can_be_read(text):
    prompt, negative_prompt, entries = read_text(text)
    assert len(prompt) + len(negative_prompt) + sum(map(len, entries)) <= len(text)
