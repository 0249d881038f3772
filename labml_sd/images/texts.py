r"""The texts inside a picture file, by their names: where PNG, JPEG and WEBP keep them.

A PNG holds any number of texts, each under a name. JPEG and WEBP hold an EXIF block, which has
a field for a comment and a few more; what has no field of its own goes into one of them, as a
JSON object. So no text is lost when a picture is saved in another format.

Maps       a PIL image <-> {name: text}
Reference  PNG 1.2, section 4.2.3 (names); EXIF 2.32, tables 4 and 7 (fields); the web UI, which
           writes its text as user comment; ComfyUI, which writes "prompt:{...}" as camera model
Tests      tests/images/test_texts.py
"""

import json
import re

from PIL import Image, PngImagePlugin

from labml_sd.images.json_text import json_object, texts_in
from labml_sd.images.reading import exif_value
from labml_sd.images.stealth import stealth_texts

TEXT_KEY = "parameters"  # the text that other programs look for
JSON_KEY = "labml_sd"  # the exact values
XMP = "XML:com.adobe.xmp"  # what PNG calls the XMP block, which JPEG and WEBP have too

_COMMENT_KEY = "UserComment"  # an EXIF comment that is not such a text: a photographer's

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E
_FIELDS = {
    "Description": _DESCRIPTION,
    "Software": _SOFTWARE,
    "Author": 0x013B,
    "Copyright": 0x8298,
}
_COMFYUI = {"prompt": 0x0110, "workflow": 0x010F}  # the camera's model and maker
_THE_REST = 0x9C9C  # a comment of Windows, in UTF-16
_MARKS = {b"\xfe\xff": "utf-16-be", b"\xff\xfe": "utf-16-le", b"\xef\xbb\xbf": "utf-8"}
_PNG_NAME = re.compile(r"[ -~\xa1-\xff]{1,79}")


def with_texts(image: Image.Image, text: str, exact: str) -> Image.Image:
    """A copy of `image` with our two texts in its `.info`, where a reader would put them."""
    copy = image.copy()
    copy.info = {**image.info, TEXT_KEY: text, JSON_KEY: exact}
    return copy


def texts_of(image: Image.Image) -> dict[str, str]:
    """All texts of a picture, by the names that PNG gives them.

    They are taken from `.info`, from EXIF, and from the lowest bits of the pixels, where some
    programs hide a copy.
    """
    found = stealth_texts(image) | _texts_of_exif(image)
    if isinstance(xmp := image.info.get("xmp"), bytes):
        found[XMP] = xmp.decode("utf-8", "replace")
    if isinstance(comment := image.info.get("comment"), bytes):  # of a JPEG or GIF
        found["Comment"] = _one_byte_text(comment)
    return found | {
        k: v for k, v in image.info.items() if isinstance(k, str) and isinstance(v, str)
    }


def png_texts(texts: dict[str, str]) -> PngImagePlugin.PngInfo:
    """PNG chunks for texts: Latin-1 where that is enough, else UTF-8."""
    chunks = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        # Half of a surrogate pair cannot be written as UTF-8.
        whole = text.encode("utf-8", "replace").decode("utf-8")
        if name == XMP:
            chunks.add_itxt(name, whole)
        elif _PNG_NAME.fullmatch(name):
            chunks.add_text(name, whole)
    return chunks


def exif_of(texts: dict[str, str]) -> bytes:
    """EXIF for texts, but for XMP, which has a block of its own."""
    rest = {name: text for name, text in texts.items() if name != XMP}
    if not rest:
        return b""
    exif = Image.Exif()
    if comment := next((name for name in (TEXT_KEY, _COMMENT_KEY) if name in rest), None):
        text = rest.pop(comment).encode("utf-16-be", "replace")
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + text
    if JSON_KEY in rest:
        exif[_SOFTWARE], exif[_DESCRIPTION] = "labml_sd", rest.pop(JSON_KEY)
    for name, tag in _FIELDS.items():
        if name in rest and tag not in exif:
            exif[tag] = rest.pop(name).encode("utf-8", "replace")
    for name, tag in _COMFYUI.items():
        if name in rest:
            exif[tag] = f"{name}:{rest.pop(name)}".encode("utf-8", "replace")
    if rest:
        exif[_THE_REST] = json.dumps(rest).encode("utf-16-le")
    return exif.tobytes()


def _texts_of_exif(image: Image.Image) -> dict[str, str]:
    """The inverse of `exif_of`; other programs' comments too."""
    found: dict[str, str] = {}
    for name, tag in (*_FIELDS.items(), *_COMFYUI.items()):
        if isinstance(value := exif_value(image, tag), str):
            text = _one_byte_text(value.encode("latin-1", "replace"))
            if name in _FIELDS:
                found[name] = text
            elif text.startswith(f"{name}:"):
                found[name] = text.removeprefix(f"{name}:")
    if found.get("Software") == "labml_sd" and "Description" in found:
        del found["Software"]
        found[JSON_KEY] = found.pop("Description")
    # Fooocus puts the comment beside the other fields instead of into their second block.
    comment = exif_value(image, _USER_COMMENT, _EXIF_IFD) or exif_value(image, _USER_COMMENT)
    if isinstance(comment, str):
        comment = comment.encode("latin-1", "replace")
    if isinstance(comment, bytes) and (text := comment_text(comment)).strip():
        is_ours = JSON_KEY in found or "Steps:" in text or text.startswith("{")
        found[TEXT_KEY if is_ours else _COMMENT_KEY] = text
    if isinstance(rest := exif_value(image, _THE_REST), bytes):
        found |= texts_in(json_object(rest.decode("utf-16-le", "replace").rstrip("\0")))
    return found


def comment_text(comment: bytes) -> str:
    """The text of an EXIF user comment, whichever code it is in.

    It begins with the name of its code in 8 bytes, but not in the files of all programs.
    "UNICODE" is UTF-16 in either order of bytes. A byte order mark decides; without one, the
    reading with more ASCII characters.
    """
    code, text = comment[:8], comment[8:]
    if code not in (b"UNICODE\0", b"ASCII\0\0\0", bytes(8)):
        text = comment
    for mark, encoding in _MARKS.items():
        if text.startswith(mark):
            return text[len(mark) :].decode(encoding, "replace").rstrip("\0")
    if code != b"UNICODE\0" and b"\0" not in text.rstrip(b"\0"):
        return _one_byte_text(text.rstrip(b"\0"))
    readings = [text.decode(encoding, "replace") for encoding in ("utf-16-be", "utf-16-le")]
    return max(readings, key=lambda reading: sum(map(str.isascii, reading))).rstrip("\0")


def _one_byte_text(text: bytes) -> str:
    """UTF-8, or else Latin-1, which every text is."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
