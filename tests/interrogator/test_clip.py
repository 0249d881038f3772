import pytest
import torch
from torch.nn import functional as F

from labml_sd.errors import CheckpointError
from labml_sd.interrogator.clip import CHUNK, load_clip
from labml_sd.interrogator.preprocessing import clip_square, normalised

CPU = torch.device("cpu")
TEXTS = ["a red house", "a cat", "", "an oil painting by Rembrandt, soft light, foggy"]


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_clip(clip_folder, CPU, torch.float32)


def test_vectors_are_those_of_transformers_own_forward(clip, clip_folder, picture):
    from transformers import CLIPModel

    network = CLIPModel.from_pretrained(clip_folder)
    ids = clip.tokenizer(TEXTS, padding=True, return_tensors="pt")
    pixels = normalised(clip_square(picture, 32))
    with torch.no_grad():
        found = network(**ids, pixel_values=pixels)
    torch.testing.assert_close(clip.embed_texts(TEXTS), found.text_embeds)
    torch.testing.assert_close(clip.embed_image(picture), found.image_embeds[0])


def test_vectors_have_length_1_and_do_not_depend_on_other_texts(clip):
    many = [f"{text} {i}" for i in range(CHUNK) for text in TEXTS[:2]]
    vectors = clip.embed_texts(many)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(many)))
    alone = torch.cat([clip.embed_texts([text]) for text in many[:3]])
    torch.testing.assert_close(vectors[:3], alone)


def test_a_text_fits_up_to_77_tokens_with_the_two_special_ones(clip):
    assert clip.n_positions == 77
    assert clip.fits("cat " * 75) and not clip.fits("cat " * 76)
    beyond = clip.embed_texts(["cat " * 75, "cat " * 100])
    torch.testing.assert_close(beyond[0], beyond[1])


def test_the_fingerprint_depends_on_the_text_network_and_its_numbers(clip, clip_folder):
    def fingerprint(dtype=torch.float32, change=None):
        other = load_clip(clip_folder, CPU, dtype)
        if change is not None:
            weight = dict(other.network.named_parameters())[change]
            weight.data.view(-1)[0] += 1
        return other.fingerprint

    assert fingerprint() == clip.fingerprint
    assert fingerprint(change="visual_projection.weight") == clip.fingerprint
    assert fingerprint(torch.bfloat16) != clip.fingerprint
    assert fingerprint(change="text_projection.weight") != clip.fingerprint
    assert fingerprint(change="text_model.final_layer_norm.bias") != clip.fingerprint


def test_half_precision_gives_nearly_the_same_vectors(clip, clip_folder, picture):
    half = load_clip(clip_folder, CPU, torch.bfloat16)
    assert half.embed_texts(TEXTS).dtype == torch.float32
    assert F.cosine_similarity(half.embed_texts(TEXTS), clip.embed_texts(TEXTS)).min() > 0.99
    assert half.embed_image(picture) @ clip.embed_image(picture) > 0.99


def test_another_model_is_refused(blip_folder):
    with pytest.raises(CheckpointError, match="of kind 'blip'; expected 'clip'"):
        load_clip(blip_folder, CPU, torch.float32)
