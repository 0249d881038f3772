from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from labml_sd.errors import ImageError
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images
from labml_sd.images.texts import comment_text, texts_of, with_texts

FORMATS = ["png", "jpg", "webp"]

DIFFICULT = {
    "newlines": "two\nlines\n\nand an empty one",
    "quotes": "she said \"no\", 'yes' \\ and left\t",
    "like entries": "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1",
    "like a negative prompt": "a house\nNegative prompt: not this one",
    "not Latin": "雪の中の赤い家 дом 🏠👩‍👩‍👧 e\u0301",
    "right to left": "בית אדום \u202e abc",
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


BOTH = {"parameters": WEB_UI, "labml_sd": "{}"}


def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "red")


def saved_again(image: Image.Image, folder: Path, *formats: str) -> dict[str, str]:
    """The texts of a picture that is saved and read in one format after the other."""
    for img_format in formats:
        image = read_picture(save_images([image], folder, img_format=img_format)[0])
    return texts_of(image)


@pytest.mark.parametrize("img_format", FORMATS)
@pytest.mark.parametrize("text", DIFFICULT.values(), ids=DIFFICULT)
def test_both_texts_come_back_from_a_file(img_format, text, tmp_path):
    image = with_texts(picture(), text, "{}")
    assert saved_again(image, tmp_path, img_format) == {"parameters": text, "labml_sd": "{}"}


@pytest.mark.parametrize("img_format", FORMATS)
def test_an_empty_text_is_as_good_as_none(img_format, tmp_path):
    image = with_texts(picture(), " ", "{}")
    assert saved_again(image, tmp_path, img_format)["labml_sd"] == "{}"


@pytest.mark.parametrize("text", MEGABYTE.values(), ids=MEGABYTE)
def test_a_megabyte_comes_back_from_a_png(text, tmp_path):
    image = with_texts(picture(), text, "{}")
    assert saved_again(image, tmp_path, "png") == {"parameters": text, "labml_sd": "{}"}


def test_a_megabyte_comes_back_from_a_webp(tmp_path):
    image = with_texts(picture(), MEGABYTE["emoji"], "{}")
    assert saved_again(image, tmp_path, "webp")["parameters"] == MEGABYTE["emoji"]


# What other programs sign their pictures with
SIGNED = {
    "the web UI": {"parameters": WEB_UI},
    "ComfyUI": {"prompt": '{"3": {"inputs": {"text": "дом"}}}', "workflow": '{"nodes": []}'},
    "ComfyUI and the web UI's text": {"prompt": "{}", "workflow": "{}", "parameters": WEB_UI},
    "NovelAI": {
        "Title": "AI generated image",
        "Description": "a house, дом 🏠",
        "Software": "NovelAI",
        "Source": "Stable Diffusion 1D44365E",
        "Generation time": "3.1",
        "Comment": '{"steps": 28, "uc": "blurry"}',
    },
    "InvokeAI": {"invokeai_metadata": '{"seed": 1}', "invokeai_graph": "{}"},
    "Fooocus": {"fooocus_scheme": "fooocus", "parameters": '{"prompt": "a"}'},
    "a scan": {"Author": "Zoë", "Copyright": "© Zoë", "Description": "a house"},
    "ours, over another program's": {**BOTH, "Software": "NovelAI", "Description": "a house"},
    "Latin-1 names": {"Größe": "8", "Author": "A"},
    "an XMP block": {"XML:com.adobe.xmp": "<x:xmpmeta>дом</x:xmpmeta>", "parameters": WEB_UI},
}


@pytest.mark.parametrize("path", [*FORMATS, "png jpg webp png", "webp jpg png"])
@pytest.mark.parametrize("texts", SIGNED.values(), ids=SIGNED)
def test_the_texts_of_other_programs_survive_saving_in_any_format(texts, path, tmp_path):
    image = picture()
    image.info |= texts
    assert saved_again(image, tmp_path, *path.split()) == texts


def test_png_texts_of_every_kind_survive(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", "latin \xe9")
    chunks.add_text("Description", "packed", zip=True)
    chunks.add_itxt("parameters", "дом", "ru", "параметры")
    picture().save(tmp_path / "theirs.png", pnginfo=chunks)
    found = saved_again(Image.open(tmp_path / "theirs.png"), tmp_path, "png")
    assert found == {"Comment": "latin \xe9", "Description": "packed", "parameters": "дом"}


def test_where_other_programs_look_in_a_webp(tmp_path):
    image = picture()
    image.info |= SIGNED["ComfyUI"] | {"Software": "x"}
    exif = read_picture(save_images([image], tmp_path, img_format="webp")[0]).getexif()
    assert exif[0x010F] == 'workflow:{"nodes": []}' and exif[0x0110].startswith("prompt:{")
    assert exif[0x0131] == "x"


def test_a_jpegs_comment_is_a_text(tmp_path):
    picture().save(tmp_path / "a.jpg", comment="a house")
    image = Image.open(tmp_path / "a.jpg")
    assert saved_again(image, tmp_path, "png", "webp") == {"Comment": "a house"}


@pytest.mark.parametrize("large", ["workflow", "XML:com.adobe.xmp"])
def test_what_is_too_long_for_a_jpeg_is_left_out_with_a_warning(large, tmp_path):
    image = picture()
    image.info |= {"parameters": WEB_UI, large: "x" * 70_000}
    with pytest.warns(UserWarning, match=f"left out: {large}; save as png"):
        assert saved_again(image, tmp_path, "jpg") == {"parameters": WEB_UI}
    assert saved_again(image, tmp_path, "webp") == image.info


def test_names_and_texts_that_a_png_cannot_hold_stop_no_saving(tmp_path):
    image = picture()
    image.info |= {"": "a", "x" * 80: "b", "a\0b": "c", "дом": "d", "half": "\ud83c"}
    assert saved_again(image, tmp_path, "png") == {"half": "?"}
    assert saved_again(image, tmp_path, "jpg")["дом"] == "d"


@pytest.mark.parametrize("img_format", FORMATS)
def test_a_picture_without_texts_is_saved_without_them(img_format, tmp_path):
    assert saved_again(picture(), tmp_path, img_format) == {}
    assert "exif" not in read_picture(next(tmp_path.iterdir())).info


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif",
    [b"no such thing", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"],
    ids=["not EXIF", "an offset beyond the end", "empty"],
)
def test_a_damaged_exif_block_has_no_texts(exif, tmp_path):
    picture().save(tmp_path / "a.webp", exif=exif)
    assert texts_of(read_picture(tmp_path / "a.webp")) == {}


def test_texts_are_added_to_a_copy():
    image = picture()
    image.info["dpi"] = (72, 72)
    copy = with_texts(image, "a", "b")
    assert image.info == {"dpi": (72, 72)} and copy.tobytes() == image.tobytes()
    assert copy.info == {"dpi": (72, 72), "parameters": "a", "labml_sd": "b"}


def test_what_is_not_text_is_not_read():
    image = picture()
    image.info |= {"parameters": b"bytes", "labml_sd": 3, 5: "five"}
    assert texts_of(image) == {}


def test_jpeg_holds_the_text_as_a_unicode_user_comment(tmp_path):
    image = with_texts(picture(), "дом", "{}")
    path = save_images([image], tmp_path, img_format="jpg")[0]
    exif = read_picture(path).getexif()
    assert exif.get_ifd(0x8769)[0x9286] == b"UNICODE\0" + "дом".encode("utf-16-be")
    assert (exif[0x0131], exif[0x010E]) == ("labml_sd", "{}")


CHINESE = "一座红房子，在雪中\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8"
LATIN = "une maison près du lac\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
CODES = {
    "UTF-16, big end first": b"UNICODE\0" + CHINESE.encode("utf-16-be"),
    "UTF-16, little end first": b"UNICODE\0" + CHINESE.encode("utf-16-le"),
    "a mark, big end first": b"UNICODE\0\xfe\xff" + CHINESE.encode("utf-16-be"),
    "a mark, little end first": b"UNICODE\0\xff\xfe" + CHINESE.encode("utf-16-le"),
    "NUL at the end": b"UNICODE\0" + CHINESE.encode("utf-16-le") + bytes(2),
    "UTF-16 under no code": bytes(8) + CHINESE.encode("utf-16-le"),
    "UTF-16 without 8 bytes of code": CHINESE.encode("utf-16-be"),
    "UTF-8 as ASCII": b"ASCII\0\0\0" + CHINESE.encode(),
    "UTF-8 under no code": bytes(8) + CHINESE.encode() + bytes(1),
    "UTF-8 with a mark": b"ASCII\0\0\0\xef\xbb\xbf" + CHINESE.encode(),
    "UTF-8 without 8 bytes of code": CHINESE.encode(),
}


@pytest.mark.parametrize("comment", CODES.values(), ids=CODES)
@pytest.mark.parametrize("img_format", ["jpeg", "webp"])
def test_a_user_comment_is_read_in_every_code(comment, img_format, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    picture().save(tmp_path / "a", img_format, exif=exif.tobytes())
    assert texts_of(read_picture(tmp_path / "a")) == {"parameters": CHINESE}


def test_a_user_comment_in_latin_1_is_read():
    assert comment_text(b"ASCII\0\0\0" + LATIN.encode("latin-1")) == LATIN
    assert comment_text(b"ASCII\0\0\0" + LATIN.encode("utf-8")) == LATIN


@pytest.mark.parametrize("comment", [b"", b"UNICODE\0", bytes(9), b"ASCII\0\0\0   ", b"A"])
def test_a_short_user_comment_is_read(comment):
    assert comment_text(comment).strip() in ("", "A")


def test_a_user_comment_beside_the_other_fields_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x9286] = WEB_UI  # as Fooocus writes it
    picture().save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert texts_of(read_picture(tmp_path / "a.jpg")) == {"parameters": WEB_UI}


def test_a_photographers_comment_is_kept_and_is_no_prompt(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0At the lake"
    exif[0x010F], exif[0x0110] = "Camera", "prompt 3"
    picture().save(tmp_path / "a.jpg", exif=exif.tobytes())
    image = read_picture(tmp_path / "a.jpg")
    assert saved_again(image, tmp_path, "webp", "png") == {"UserComment": "At the lake"}


@pytest.mark.parametrize("value", [b"\xff" * 9, b"[\0]\0", b"\0", "[" * 9000, 7, (1, 2)])
def test_any_field_of_exif_can_be_read(value):
    image = picture()
    image._exif = Image.Exif()
    image._exif.update(dict.fromkeys((0x9C9C, 0x9286, 0x010E, 0x0131, 0x0110), value))
    assert all(isinstance(text, str) for text in texts_of(image).values())


def test_a_text_too_long_for_jpeg_is_one_line(tmp_path):
    with pytest.raises(ImageError, match="save as png"):
        save_images([with_texts(picture(), "x" * 40_000, "{}")], tmp_path, img_format="jpg")
