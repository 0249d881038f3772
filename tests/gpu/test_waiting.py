"""Within the loop the host never waits for the GPU: it prepares the next step meanwhile."""

import pytest

import labml_sd as sd
from labml_sd.sampler import SAMPLERS

pytestmark = pytest.mark.gpu

PROMPT = "a red house in the snow at night"
SETTINGS = {"steps": 3, "seed": 3, "progress": False}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("fast", [False, True])
def test_no_sampler_waits(small_on_gpu, never_waits, sampler, fast):
    settings = SETTINGS | {"sampler": sampler, "guidance_rescale": 0.5}
    small_on_gpu.fast = fast
    try:
        sd.txt2img(small_on_gpu, PROMPT, **settings)  # what is made once may wait
        with never_waits() as on_step:
            sd.txt2img(small_on_gpu, PROMPT, on_step=on_step, **settings)
    finally:
        small_on_gpu.fast = False


def test_no_edit_waits(small_on_gpu, never_waits, picture, left_half):
    image, mask = picture(32), left_half(32)
    sd.inpaint(small_on_gpu, PROMPT, image, mask, **SETTINGS)
    with never_waits() as on_step:
        sd.img2img(small_on_gpu, PROMPT, image, on_step=on_step, **SETTINGS)
        sd.inpaint(small_on_gpu, PROMPT, image, mask, on_step=on_step, **SETTINGS)


def test_waiting_would_be_seen(small_on_gpu, gpu, never_waits):
    if gpu.type != "cuda":
        pytest.skip("nothing waits on a CPU")
    seen = []

    with never_waits() as on_step:

        def look(step):
            on_step(step)
            seen.append(step.x.sum().item())

        with pytest.raises(RuntimeError, match="synchroniz"):
            sd.txt2img(small_on_gpu, PROMPT, on_step=look, **SETTINGS)
    assert seen == []
