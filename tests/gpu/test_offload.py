"""An offloaded model draws the same bits as one on the GPU, with less of the GPU's memory."""

import pytest
import torch

import labml_sd as sd
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.offload import Offloaded

pytestmark = pytest.mark.gpu

PROMPT = "a red house in the snow at night"
SETTINGS = {"steps": 3, "seed": 3, "progress": False}


@pytest.fixture(scope="module", params=["float32", "float16"])
def models(request, gpu):
    """(on the GPU, offloaded) with the same weights."""
    given = {"device": gpu, "dtype": request.param}
    return sd.load_model(**given), sd.load_model(**given, offload=True)


@pytest.fixture
def on_cuda(gpu):
    if gpu.type != "cuda":
        pytest.skip("a CPU has no memory of another device")


@pytest.mark.usefixtures("on_cuda")
def test_the_networks_wait_on_the_cpu(models, gpu):
    held, offloaded = models
    assert isinstance(offloaded, Offloaded) and offloaded.device.type == gpu.type
    assert {weight.device.type for weight in offloaded.parameters()} == {"cpu"}
    assert offloaded.dtype == held.dtype


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_a"])
def test_every_task_draws_the_same_bits(models, picture, left_half, fast, sampler):
    tasks = (
        (sd.txt2img, ()),
        (sd.img2img, (picture(128),)),
        (sd.inpaint, (picture(128), left_half(128))),
    )
    for pipeline, given in tasks:
        drawn = []
        for model in models:
            model.fast = fast
            images = pipeline(model, PROMPT, *given, sampler=sampler, n_images=2, **SETTINGS)
            drawn.append([image.tobytes() for image in images])
        assert drawn[0] == drawn[1]


def n_bytes(model: LatentDiffusion, *parts: str) -> int:
    return sum(
        weight.nbytes for part in parts for weight in model.get_submodule(part).parameters()
    )


def peak(model: LatentDiffusion) -> int:
    """The most memory of PyTorch while a picture is drawn, all that is held counted."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    sd.txt2img(model, PROMPT, **SETTINGS)
    return torch.cuda.max_memory_allocated()


@pytest.mark.usefixtures("on_cuda")
def test_the_gpu_holds_one_network_at_a_time_and_none_between_calls(models, gpu):
    held, offloaded = models
    held.fast = offloaded.fast = False
    peak(held)  # its libraries keep memory from the first call on
    before = torch.cuda.memory_allocated()
    with_all = peak(held)
    apart = peak(offloaded) - n_bytes(held, "text_encoder", "unet", "autoencoder")
    assert torch.cuda.memory_allocated() == before
    # while the U-Net runs, the other two are away; while they run, more than that
    assert with_all - apart > 0.9 * n_bytes(held, "text_encoder", "autoencoder")


@pytest.mark.usefixtures("on_cuda")
def test_after_an_error_the_gpu_holds_none_of_it(models):
    def stop(step):
        raise ValueError("enough")

    _, offloaded = models
    peak(offloaded)
    before = torch.cuda.memory_allocated()
    with pytest.raises(ValueError, match="enough"):
        sd.txt2img(offloaded, PROMPT, on_step=stop, **SETTINGS)
    assert {weight.device.type for weight in offloaded.parameters()} == {"cpu"}
    assert torch.cuda.memory_allocated() - before < n_bytes(offloaded, "text_encoder")
