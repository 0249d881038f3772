r"""The prompts of a call as what its pictures are conditioned on, at every step.

Maps       model, request  ->  Conditioning, or ScheduledConditioning where a prompt changes
Reference  AUTOMATIC1111 modules/prompt_parser.py, modules/sd_samplers_cfg_denoiser.py
Tests      tests/pipeline/test_prompts.py
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError, PromptError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.conditioning import (
    Conditioning,
    ScheduledConditioning,
    needs_uncond,
)
from labml_sd.pipeline.memory import retried
from labml_sd.pipeline.request import Request
from labml_sd.sampler import get_sampler
from labml_sd.settings import Settings
from labml_sd.text_encoder import Prompt, Vectors, chunks_of, read_prompt

MOST_REPEATED = 60  # chunks of one embedding after repetition
_Embedded = dict[str, Tensor]  # a text -> its embedding [n d]


@dataclass(frozen=True)
class _Texts:
    """What is encoded for one step: a row for each image."""

    conditions: tuple[tuple[str, ...], ...]  # [k b]: of each image, the texts that AND joins
    negative: tuple[str, ...] | None


def conditioning_for(
    network: LatentDiffusion,
    request: Request,
    channels: Float[Tensor, "b extra h w"] | None = None,
) -> Conditioning | ScheduledConditioning:
    """The prompts of a call, read and encoded; without guidance, no negative prompts.

    Each distinct text is encoded once. Steps count from 1, as the sampler makes them; with
    `compat="a1111"` the two evaluations of a second-order step count as two. PromptError for a
    network or an embedding that is not there.
    """
    emphasis = request.settings.emphasis
    prompts = _read(request.prompts, emphasis, several=True)
    negatives = _read(request.negative_prompts, emphasis, several=False)
    _check_networks([*prompts, *negatives])
    weights = _weights(prompts)
    is_guided = request.guidance.scale != 1 or needs_uncond(weights)
    n_steps = max(1, len(request.start()[1]) - 1) * _counted(request)
    changes = any(prompt.changes for prompt in [*prompts, *(negatives if is_guided else [])])
    by_step = [
        _texts(prompts, negatives if is_guided else None, step, n_steps)
        for step in range(1, 1 + (n_steps if changes else 1))
    ]
    vectors = {name: e.vectors for name, e in request.embeddings.items()}
    embedded = _embedded(network, by_step, request.settings, vectors)
    made: dict[_Texts, Conditioning] = {}
    for texts in by_step:
        if texts not in made:
            made[texts] = _conditioning(texts, *embedded, weights, channels)
    if len(made) == 1:
        return made[by_step[0]]
    return ScheduledConditioning([made[texts] for texts in by_step])


def encode(
    network: LatentDiffusion,
    texts: Sequence[str],
    settings: Settings,
    vectors: Vectors | None = None,
) -> list[Float[Tensor, "n d"]]:
    """Encode texts, in the U-Net's number type; names of `vectors` stand for these.

    GenerationError for NaN, PromptError where weights of the prompt are the cause.
    """
    if not texts:
        return []
    encoder = network.text_encoder
    prompts = [
        chunks_of(text, encoder.tokenizer, encoder.config, settings.emphasis, vectors)
        for text in texts
    ]
    found = retried(
        lambda: network.encode_chunks(prompts, -settings.clip_skip, settings.emphasis)
    )
    found = [c.to(network.device, network.dtype) for c in found]
    for text, chunks, c in zip(texts, prompts, found, strict=True):
        if torch.isfinite(c).all():
            continue
        if any(set(chunk.weights) != {1.0} for chunk in chunks):
            raise PromptError(f"the weights in {text[:100]!r} are too large: give smaller ones")
        raise GenerationError(
            "the text encoder gave NaN or Inf: its weights are damaged, or too large for "
            "float16; run the model in float32 or bfloat16"
        )
    return found


def same_length(
    embeddings: Sequence[Float[Tensor, "_ d"]], empty: Float[Tensor, "n d"]
) -> list[Float[Tensor, "m d"]]:
    """Embeddings of several lengths, repeated until all have one length.

    Attention to tokens that are all repeated is attention to them once: the softmax weights of
    k copies are each 1/k of one's. So a prompt gives the same picture beside longer ones. Only
    where that would take more than 60 chunks, chunks of the empty prompt fill up the shorter.
    """
    lengths = [len(c) for c in embeddings]
    common = math.lcm(*lengths)
    if common <= MOST_REPEATED * len(empty):
        return [c.repeat(common // len(c), 1) if len(c) < common else c for c in embeddings]
    longest = max(lengths)
    return [torch.cat([c, *[empty] * ((longest - len(c)) // len(empty))]) for c in embeddings]


def _read(texts: Sequence[str], emphasis: str, *, several: bool) -> list[Prompt]:
    """The prompt of each image; a text of many images is read once."""
    read = {t: read_prompt(t, emphasis, several=several) for t in dict.fromkeys(texts)}
    return [read[text] for text in texts]


def _embedded(
    network: LatentDiffusion, by_step: Sequence[_Texts], settings: Settings, vectors: Vectors
) -> tuple[_Embedded, _Embedded]:
    """The embedding of each text, and of each negative one, all of one length."""
    texts = _distinct(row for each in by_step for row in each.conditions)
    negative = _distinct(each.negative or () for each in by_step)
    found = encode(network, texts, settings, vectors)
    found += encode(network, negative, settings, vectors)
    if len({len(c) for c in found}) > 1:
        (empty,) = encode(network, [""], settings)
        found = same_length(found, empty)
    n = len(texts)
    return dict(zip(texts, found[:n], strict=True)), dict(zip(negative, found[n:], strict=True))


def _distinct(rows: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(text for row in rows for text in row))


def _conditioning(
    texts: _Texts,
    embedded: _Embedded,
    negatives: _Embedded,
    weights: Float[Tensor, "k b"] | None,
    channels: Float[Tensor, "b extra h w"] | None,
) -> Conditioning:
    cond = torch.stack([embedded[text] for row in texts.conditions for text in row])
    uncond = None
    if texts.negative is not None:
        uncond = torch.stack([negatives[text] for text in texts.negative])
    return Conditioning(cond, uncond, channels, weights=weights)


def _texts(
    prompts: Sequence[Prompt], negatives: Sequence[Prompt] | None, step: int, n_steps: int
) -> _Texts:
    """The texts of all images at a step."""
    k = max(len(prompt.conditions) for prompt in prompts)
    columns = [prompt.texts(step, n_steps) for prompt in prompts]
    filled = [texts + texts[:1] * (k - len(texts)) for texts in columns]  # of weight 0
    conditions = tuple(zip(*filled, strict=True))
    if negatives is None:
        return _Texts(conditions, None)
    return _Texts(conditions, tuple(prompt.texts(step, n_steps)[0] for prompt in negatives))


def _weights(prompts: Sequence[Prompt]) -> Float[Tensor, "k b"] | None:
    """The weights of the conditions of each image; None where each has one of weight 1."""
    k = max(len(prompt.conditions) for prompt in prompts)
    if k == 1 and all(prompt.weights == (1.0,) for prompt in prompts):
        return None
    rows = [(*prompt.weights, *[0.0] * (k - len(prompt.weights))) for prompt in prompts]
    return torch.tensor(rows).T  # [k b]


def _counted(request: Request) -> int:
    """How many steps of the prompts' schedules pass in one step of the sampler."""
    if request.settings.compat != "a1111":
        return 1
    return getattr(get_sampler(request.settings.sampler), "evaluations_per_step", 1)


def _check_networks(prompts: Sequence[Prompt]) -> None:
    """PromptError for a network that a prompt names: none can be added yet."""
    for prompt in prompts:
        for network in prompt.networks:
            raise PromptError(
                f"<{network.kind}:{network.name}> names a network that is not there: there "
                'are none; leave it out, or give emphasis="none" if it is text'
            )
