r"""Which pictures of a list a folder holds, by the parameters inside them.

Picture i of a list is file `first + i` of its folder. `first` is 0 in an empty folder; where an
earlier run began elsewhere, its pictures tell.

Maps       a list, a folder -> the numbers of its files, those that are missing
Tests      tests/cli/test_lists.py
"""

from dataclasses import dataclass
from pathlib import Path

from labml_sd.cli.lists import Call, PictureList, counting
from labml_sd.errors import ImageError, quoted
from labml_sd.images.writing import file_name, next_number, numbered
from labml_sd.pipeline.parameters import GenerationParameters, read_parameters


@dataclass(frozen=True)
class SavedList:
    """A list and its files, which are numbered from `first`."""

    pictures: PictureList
    folder: Path
    first: int
    resumes: bool  # otherwise all pictures are missing, whatever the folder holds

    def missing(self, call: Call) -> list[int]:
        """The places of a call's pictures that have no file yet.

        Raises `ImageError` where another picture has the name of one of them.
        """
        places = range(call.place, call.end)
        if not self.resumes:
            return list(places)
        taken = [place for place in places if (self.folder / self.name(place)).exists()]
        for place in taken:
            path = self.folder / self.name(place)
            if differs := _difference(self.pictures, place, _parameters(self.pictures, path)):
                raise ImageError(
                    f"{path} is not of this list ({differs}): give another --outdir, "
                    "or the prompts and settings that it was drawn with"
                )
        return [place for place in places if place not in taken]

    def name(self, place: int) -> str:
        """The file of a picture of the list."""
        return file_name(self.first + place)


def first_number(pictures: PictureList, folder: Path, *, resumes: bool, expected: bool) -> int:
    """The next number, or if a run `resumes` the first of the earlier run in this folder.

    Several processes agree on it without a message: one that starts late finds the pictures of
    the others. Raises `ImageError` if a picture of the list is `expected` among others, and
    there is none.
    """
    found, start = numbered(folder) if resumes else {}, pictures.calls[0]
    counted, differs = counting(start.settings), "its pictures have other seeds"
    for number, path in reversed(found.items()):  # the latest run, if there are several
        drawn = _parameters(pictures, path)
        seed = None if drawn is None else getattr(drawn, counted)
        place = -1 if seed is None else seed - start.settings[counted]
        if not 0 <= place < min(pictures.calls[-1].end, number + 1):
            continue
        if not (differs := _difference(pictures, place, drawn)):
            return number - place
    if expected and found:
        raise ImageError(
            f"{folder} holds no picture of this list ({differs}): give the same prompts and "
            "settings, another --outdir, or leave --resume out"
        )
    return next_number(folder)


def _parameters(pictures: PictureList, path: Path) -> GenerationParameters | None:
    try:
        return read_parameters(path, max_pixels=pictures.max_pixels)
    except ImageError:
        return None


def _difference(pictures: PictureList, place: int, drawn: GenerationParameters | None) -> str:
    """What tells a picture from the one at a place of the list; empty if it is that one."""
    if drawn is None:
        return "it carries no parameters"
    call = pictures.calls[place // pictures.calls[0].end]
    try:
        here = pictures.parameters(call)[place - call.place].to_dict()
    except ImageError as error:  # the picture that the call starts from
        return str(error)
    there = drawn.to_dict()
    changed = [key for key in here if key != "version" and here[key] != there[key]]
    found = [
        f"{key} is {quoted(there[key])} there, {quoted(here[key])} here" for key in changed
    ]
    return found[0] if found else ""
