r"""Texts hidden in the lowest bits of the pixels, where uploading a picture does not lose them.

Bits are read column by column: those of the opacity, or those of red, green and blue in turn.
They spell a signature, how many bits follow, and then the text, in UTF-8 or compressed by gzip.

Maps       a PIL image -> {name: text}
Reference  the "stealth" PNG of NovelAI and of the web UI's extension: signatures and order
Tests      tests/images/test_stealth.py
"""

import zlib

import numpy as np
from PIL import Image

from labml_sd.images.json_text import MAX_JSON, json_object, texts_in

_SIGNATURES = {
    "RGBA": (b"stealth_pnginfo", b"stealth_pngcomp"),  # as it is, compressed
    "RGB": (b"stealth_rgbinfo", b"stealth_rgbcomp"),
}
_HEAD = 15 + 4  # bytes: a signature, and a length in bits


def stealth_texts(image: Image.Image) -> dict[str, str]:
    """The hidden texts of a picture by their names; none for one that hides nothing."""
    for mode in (image.mode, "RGB") if image.mode == "RGBA" else (image.mode,):
        hidden = _bytes_after_signature(image, mode) if mode in _SIGNATURES else None
        if hidden is not None:
            text = hidden.decode("utf-8", "replace")
            return texts_in(json_object(text)) or {"parameters": text}
    return {}


def _bytes_after_signature(image: Image.Image, mode: str) -> bytes | None:
    """What follows a signature, unfolded; None without a signature or with damaged bytes."""
    n_columns = -(-8 * _HEAD // (image.height or 1))  # enough for the signature and the length
    head = _bits(image.crop((0, 0, min(n_columns, image.width), image.height)), mode)[:_HEAD]
    as_it_is, compressed = _SIGNATURES[mode]
    if head[:15] not in (as_it_is, compressed):
        return None
    n_bytes = int.from_bytes(head[15:]) // 8
    content = _bits(image, mode)[_HEAD : _HEAD + n_bytes]
    if head[:15] == as_it_is:
        return content
    unfolding = zlib.decompressobj(wbits=31)  # 31: gzip
    try:
        text = unfolding.decompress(content, MAX_JSON)
    except zlib.error:
        return None
    return text if unfolding.eof else None


def _bits(image: Image.Image, mode: str) -> bytes:
    """The lowest bits of the pixels, column by column, eight to a byte."""
    values = np.asarray(image)  # [h w c]
    channels = values[..., 3:] if mode == "RGBA" else values[..., :3]
    return np.packbits(channels.transpose(1, 0, 2).ravel() & 1).tobytes()
