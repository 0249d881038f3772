r"""Lists of phrases that a picture is compared with: text files, one phrase a line.

Maps       a folder -> the phrases of mediums, artists, movements and flavours
Reference  clip-interrogator's lists (ours are shorter, and written for this package)
Tests      tests/interrogator/test_phrase_lists.py
"""

from importlib.resources import files
from os import PathLike
from pathlib import Path

from labml_sd.checkpoint.sources import to_path
from labml_sd.errors import PromptError

LISTS = ("mediums", "artists", "movements", "flavours")
MAX_BYTES = 2**24  # of a file of phrases
_PREFIX = {"artists": "by "}  # the file holds names


def read_phrases(folder: str | PathLike[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The phrases of each list, in the order of the file, each once.

    `folder` has one UTF-8 file for each of `LISTS`, as `mediums.txt`, with a phrase on each
    line; empty lines are skipped. A list whose file is not there is the bundled one; None takes
    all from there. Artists are names, which become "by NAME". Raises PromptError for a folder
    with none of these files, and for a file that cannot be read or holds no phrase.
    """
    bundled = Path(str(files("labml_sd"))) / "interrogator" / "phrases"
    own = bundled if folder is None else to_path(folder, "a folder with lists of phrases")
    names = [f"{name}.txt" for name in LISTS]
    if not any((own / name).is_file() for name in names):
        raise PromptError(f"{own}: holds no list of phrases; put one there: {' '.join(names)}")
    found = {}
    for name in LISTS:
        path = own / f"{name}.txt"
        path = path if path.is_file() else bundled / path.name
        prefix = _PREFIX.get(name, "")
        lines = (line.removeprefix(prefix) for line in _lines(path))
        found[name] = tuple(dict.fromkeys(prefix + line for line in lines))
    return found


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")  # Windows editors put a byte order mark first
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PromptError(f"{path}: the phrases cannot be read ({reason})") from error
    if len(content) > MAX_BYTES:
        raise PromptError(f"{path}: is longer than {MAX_BYTES:,} bytes; shorten the list")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    if not any(lines):
        raise PromptError(f"{path}: holds no phrase; write one on each line")
    return [line for line in lines if line]
