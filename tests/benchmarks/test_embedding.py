import embedding
import torch

from labml_sd.evaluation.probe import Probe, ProbeRecipe
from labml_sd.tiny.scenes import GROUNDS, SKIES


def test_the_prompts_have_what_the_pictures_have_not():
    scenes = embedding.training_scenes("cat", "purple")
    assert len(scenes) == 5
    assert {(o.kind, o.colour) for s in scenes for o in s.objects} == {("cat", "purple")}
    seen = {(s.sky, s.ground) for s in scenes}
    words = {"by day": "day", "at sunset": "sunset", "at night": "night"}
    for prompt in embedding.other_prompts("a <toy>", 100):
        (sky,) = (sky for word, sky in words.items() if word in prompt)
        (ground,) = (ground for ground in GROUNDS if ground in prompt)
        assert sky not in {s for s, _ in seen} or ground not in {g for _, g in seen}
        assert sky in SKIES
    assert len(set(embedding.other_prompts("a <toy>", 100))) == 5


def test_pictures_are_read_by_the_probe(model):
    torch.manual_seed(0)
    probe = Probe(ProbeRecipe()).eval()
    prompts = embedding.other_prompts("a cat", 3)
    assert 0.0 <= embedding.share_of(model, probe, prompts, "cat", "purple") <= 1.0
