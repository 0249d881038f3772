r"""A list to draw: one call of a pipeline for each prompt of a file, or picture of a folder.

A call draws the pictures of one prompt only, so they are saved before the next call, and do not
depend on which process runs it.

Maps       prompts, pictures, settings -> calls, each with the place of its pictures in the list
Tests      tests/cli/test_lists.py
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from labml_sd.errors import PromptError
from labml_sd.images.masks import load_mask
from labml_sd.images.reading import on_white, open_layers
from labml_sd.images.tensors import resize_to
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.parameters import GenerationParameters, parameters_of_call
from labml_sd.pipeline.request import Request, check_size, make_request

Inputs = tuple[Image.Image | Path, ...]  # nothing, a picture, or a picture and its mask


@dataclass(frozen=True)
class Call:
    """Draws the pictures of a list from `place` to `end`, which is not included."""

    place: int
    end: int
    prompt: str
    inputs: Inputs
    settings: Mapping[str, Any]


def make_calls(
    prompts: Sequence[str], inputs: Sequence[Inputs], settings: Mapping[str, Any]
) -> list[Call]:
    """A call for each prompt with its inputs; a single prompt or input goes with all others.

    Picture i of the list gets the seed that it would have as picture i of one call. Raises
    `PromptError` when the numbers of prompts and inputs differ.
    """
    count, n = max(len(prompts), len(inputs)), settings.get("n_images", 1)
    if not {len(prompts), len(inputs)} <= {1, count}:
        raise PromptError(
            f"{len(prompts)} prompts for {len(inputs)} pictures: "
            "give one prompt for all, or one for each"
        )
    counted, calls = counting(settings), []
    for i in range(count):
        prompt, given = prompts[i % len(prompts)], inputs[i % len(inputs)]
        shifted = {counted: settings[counted] + i * n} if counted in settings else {}
        calls.append(Call(i * n, i * n + n, prompt, given, {**settings, **shifted}))
    return calls


def counting(settings: Mapping[str, Any]) -> str:
    """The setting that is one more for each picture of a call."""
    return "variation_seed" if settings.get("variation_strength") else "seed"


@dataclass(frozen=True)
class PictureList:
    """The calls of a list, and what runs them."""

    pipeline: Callable[..., list[Image.Image]]
    model: LatentDiffusion
    calls: Sequence[Call]
    max_pixels: int  # of a picture that is read

    def draw(self, call: Call, *, progress: bool) -> list[Image.Image]:
        """Run a call. Raises what the pipeline raises, and `ImageError` for its inputs."""
        inputs = self._opened(call)
        return self.pipeline(
            self.model, call.prompt, *inputs, **call.settings, progress=progress
        )

    def request(self, call: Call) -> Request:
        """What a call asks of its pipeline. Raises for settings that no call could have."""
        settings = dict(call.settings)
        strength = settings.pop("strength", None)
        if strength is None:
            own = inspect.signature(self.pipeline).parameters.get("strength")
            strength = 1.0 if own is None else own.default
        task = self.pipeline.__name__
        return make_request(self.model, call.prompt, settings, strength=strength, task=task)

    def parameters(self, call: Call) -> list[GenerationParameters]:
        """What the pictures of a call will carry. Nothing is drawn."""
        request, task = self.request(call), self.pipeline.__name__
        size = request.settings.height, request.settings.width
        if task == "txt2img":
            height, width = check_size(self.model.config, request.settings)
            return parameters_of_call(self.model, request, (width, height), task)
        image, *masks = self._opened(call)
        masks = [resize_to(load_mask(mask, image.size), *size) for mask in masks]
        image = resize_to(on_white(image), *size)
        return parameters_of_call(self.model, request, image.size, task, image, *masks)

    def _opened(self, call: Call) -> list[Image.Image]:
        return [open_layers(each, max_pixels=self.max_pixels) for each in call.inputs]
