r"""Two ways to read a prompt from a picture: as a scene of the tiny model, or by BLIP and CLIP.

Maps       a PIL image  ->  a prompt
Reference  clip-interrogator
Tests      tests/interrogator/test_interrogators.py
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike

from PIL import Image
from tqdm.auto import tqdm

from labml_sd.errors import GenerationError, quoted
from labml_sd.images.tensors import to_tensor
from labml_sd.interrogator.captioner import Captioner
from labml_sd.interrogator.clip import Clip
from labml_sd.interrogator.phrase_cache import cached_vectors
from labml_sd.interrogator.ranking import MODES, Mode, Ranking, Table
from labml_sd.interrogator.scene_reader import SceneReader

CLIP = "openai/clip-vit-large-patch14"  # whose text transformer is that of SD v1
UNLIKE_A_SCENE = 0.7  # cosine of picture and caption


class Interrogator(ABC):
    """Reads prompts from pictures."""

    @abstractmethod
    def prompt(self, image: Image.Image, mode: str | None, *, progress: bool) -> str:
        """The prompt of an upright RGB picture. GenerationError for an unknown mode."""


class SceneInterrogator(Interrogator):
    """Reads the scenes of the tiny model: its prompts name every attribute."""

    def __init__(self, reader: SceneReader) -> None:
        self.reader = reader

    def prompt(self, image: Image.Image, mode: str | None, *, progress: bool) -> str:
        """The full caption of the scene; a warning if the picture does not look like one."""
        if mode is not None:
            raise GenerationError(
                f"mode is {quoted(mode)}, and the tiny model has one way only: leave the mode "
                f"out, or give a CLIP model, such as {CLIP}"
            )
        ((scene, closeness),) = self.reader.read(to_tensor(image))
        if closeness < UNLIKE_A_SCENE:
            warnings.warn(
                "the picture is unlike the scenes of the tiny model; for other pictures give a "
                f"CLIP model, such as {CLIP}",
                stacklevel=3,
            )
        return scene.caption(full=True)


class ClipInterrogator(Interrogator):
    """BLIP's caption, followed by phrases that CLIP finds close to the picture."""

    def __init__(
        self,
        clip: Clip,
        captioner: Captioner,
        phrases: Mapping[str, Sequence[str]],
        cache: str | PathLike[str] | None = None,
    ) -> None:
        self.clip, self.captioner = clip, captioner
        self.phrases, self.cache = phrases, cache
        self._tables: dict[str, Table] = {}

    def prompt(self, image: Image.Image, mode: str | None, *, progress: bool) -> str:
        """The prompt in one of `MODES`; None is the first, "fast"."""
        known = known_mode(mode)
        tables, picture = self._read_tables(progress), self.clip.embed_image(image)

        def similarity(prompts: Sequence[str]) -> list[float]:
            return (self.clip.embed_texts(prompts) @ picture).tolist()

        with tqdm(desc="flavours", disable=not progress or known != "best") as bar:
            ranking = Ranking(tables, picture, similarity, self.clip.fits, bar.update)
            return ranking.prompt(self.captioner.caption(image), known)

    def _read_tables(self, progress: bool) -> dict[str, Table]:
        """The vectors of all phrases, at the first picture."""
        for name, phrases in self.phrases.items():
            if name not in self._tables:
                vectors = cached_vectors(self.clip, phrases, self.cache, progress=progress)
                self._tables[name] = Table(tuple(phrases), vectors)
        return self._tables


def known_mode(mode: str | None) -> Mode:
    """The mode of a name, "fast" for None. Raises GenerationError."""
    for known in MODES:
        if mode is None or mode == known:
            return known
    raise GenerationError(f"mode is {quoted(mode)}; expected {', '.join(MODES)}")
