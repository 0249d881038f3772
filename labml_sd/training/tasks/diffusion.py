r"""Stage 4: the U-Net learns to predict the noise in a latent, or v, given a caption.

Maps       latents, captions  ->  UNet (and its average)
Paper      Ho et al. 2020, arXiv:2006.11239, algorithm 1
           Ho and Salimans 2022, arXiv:2207.12598, algorithm 1 (empty prompts)
           Salimans and Ho 2022, arXiv:2202.00512, section 4 (v)
Tests      tests/training/tasks/test_diffusion.py
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from labml_sd.config import PredictionKind, UNetConfig
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import NoiseSource, get_sampler, sample
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import generator
from labml_sd.training.latents import LatentSet
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_rows
from labml_sd.unet import UNet
from labml_sd.utilities.device import autocast

PICTURE_PROMPTS = (
    "a red house in the snow at night",
    "a large yellow tree on the left on the grass by day under the sun",
    "a small blue boat on the right on the sea at sunset",
    "a black cat in the middle on the beach by day and a green balloon on the left",
    "a purple balloon on the right over the snow at sunset with the sun",
    "a small white car on the left on the grass at night under the moon",
)


class DiffusionTask:
    """Noise a latent to a random time; the loss is the weighted error of what is predicted.

    Only the U-Net learns; the autoencoder and the text encoder are frozen.
    """

    name = "diffusion"

    def __init__(
        self,
        recipe: Recipe,
        model: LatentDiffusion,
        latents: LatentSet,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        """`model` has a trained autoencoder and text encoder; its U-Net is trained further."""
        self.recipe, self.seed, self.latents = recipe.diffusion, seed, latents
        self.processes = processes
        self.model = model.requires_grad_(False)
        self.model.unet.requires_grad_(True)
        if model.device.type == "cpu":
            # Same numbers, but faster: at this head size the backward pass of the CPU's flash
            # kernel takes half of a step.
            self.model.unet.use_attention("normal")
        self.networks: nn.Module = self.model.unet
        self.alpha_bar = model.schedule.alpha_bar.to(model.device)

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """The weighted loss, and the plain mean square error for comparison with other work."""
        draw, share = generator(self.seed, step, "diffusion"), self.processes.share
        n, device = self.processes.count * self.recipe.batch_size, self.model.device
        index = torch.randint(0, len(self.latents.mean), (n,), generator=draw)
        mean, std = (x[index].float() for x in (self.latents.mean, self.latents.std))
        z = self.model.autoencoder.scaled(mean + std * torch.randn(mean.shape, generator=draw))
        t = share(self.times(n, draw)).to(device)
        noise = share(torch.randn(z.shape, generator=draw)).to(device)
        z = share(z).to(device)
        alpha_bar = self.alpha_bar[t]
        scale = alpha_bar[:, None, None, None]
        noise = self.noise(noise, z, t).to(noise)
        x = (scale.sqrt() * z + (1 - scale).sqrt() * noise).float()
        channels = self.channels(index)
        if channels is not None:
            channels = share(channels).to(device)
            x = torch.cat([x, channels], dim=1)
        with autocast(device):
            cond = self.encoded(self.captions(index, step, draw))
            output = self.model.unet(x, t, cond).float()
        kind = self.model.config.prediction
        target = noise if kind == "eps" else v_of(z, noise, scale).float()
        weights = self.cell_weights(alpha_bar, channels)
        loss = diffusion_loss(output, target, alpha_bar, self.recipe.snr_gamma, kind, weights)
        return {"loss": loss, "mse": (output.detach() - target).square().mean()}

    def times(self, n: int, draw: Generator) -> Int[Tensor, " n"]:
        """Random times, all of them equally likely."""
        return stratified_times(n, len(self.alpha_bar), draw)

    def noise(
        self,
        noise: Float[Tensor, "b c h w"],
        z: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c h w"]:
        """The noise that is added to z: standard normal `noise`, as it is."""
        return noise

    def channels(self, index: Int[Tensor, " b"]) -> Float[Tensor, "b extra h w"] | None:
        """What the U-Net sees beside the noisy latents of some scenes: nothing."""
        return None

    def cell_weights(
        self, alpha_bar: Float[Tensor, " b"], channels: Float[Tensor, "b extra h w"] | None
    ) -> Float[Tensor, "b 1 h w"] | None:
        """A factor on the loss of each latent cell, beside `min_snr_weight`: none."""
        return None

    def encoded(self, prompts: Sequence[str]) -> Float[Tensor, "b n d"]:
        """The embeddings c of prompts, by the frozen text encoder."""
        with torch.no_grad():
            return self.model.encode_prompt(list(prompts))

    def captions(self, index: Int[Tensor, " b"], step: int, draw: Generator) -> list[str]:
        """A new wording each time a scene is used; some captions are empty."""
        uniform = torch.rand((len(index), 2), generator=draw).tolist()
        numbered = list(zip(count(step * len(index)), index.tolist(), uniform))
        captions = []
        for wording, i, (for_empty, for_full) in self.processes.share(numbered):
            full = for_full < self.recipe.full_captions
            empty = for_empty < self.recipe.prompt_dropout
            caption = Scene.sample(self.seed, i).caption(seed=wording, full=full)
            captions.append("" if empty else caption)
        return captions

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Two samples of six prompts, with 20 steps of DDIM."""
        save_rows([self.drawn(networks, PICTURE_PROMPTS, seed) for seed in (0, 100)], path)

    def drawn(
        self,
        networks: nn.Module,
        prompts: Sequence[str],
        seed: int,
        channels: Float[Tensor, "b extra h w"] | None = None,
    ) -> Float[Tensor, "b 3 H W"]:
        """Prompt i drawn from the noise of seed + i, with 20 steps of DDIM."""
        model, sampler = self.model, get_sampler("ddim")
        c, h, w = self.latents.mean.shape[1:]
        seeds = range(seed, seed + len(prompts))
        with torch.inference_mode(), autocast(model.device):
            cond, uncond = (self.encoded(p).float() for p in (prompts, [""]))
            denoise = Denoiser(
                networks.eval(),
                Conditioning(cond, uncond, channels),
                model.config.guidance_scale,
                prediction=model.config.prediction,
            )
            noise = NoiseSource(seeds, (c, h, w), model.device, torch.float32).draw
            levels = sampler.levels(model.schedule, 20)
            z = sample(sampler, denoise, noise(), levels, draw=noise, progress=False)
            return model.decode_latent(z).float()


def fresh_unet(config: UNetConfig, seed: int) -> UNet:
    """A U-Net before training: random weights, always the same for a seed."""
    torch.manual_seed(seed)
    unet = UNet(config)
    zero_outputs(unet)
    return unet


def zero_outputs(unet: UNet) -> None:
    """Set the last layer of each ResBlock, each transformer and the network to 0, as CompVis.

    Every residual block then starts as the identity, and the predicted noise starts at 0.
    """
    for name, weight in unet.named_parameters():
        if ".out_layers.3." in name or ".proj_out." in name or name.startswith("out.2."):
            nn.init.zeros_(weight)


def stratified_times(n: int, n_steps: int, draw: Generator) -> Int[Tensor, " n"]:
    """One random time in each of n equal parts of the schedule, which lowers the variance."""
    return (strata(n, draw) * n_steps / n).long().clamp(max=n_steps - 1)


def strata(n: int, draw: Generator) -> Float[Tensor, " n"]:
    """One random number in each of the n intervals from k to k + 1."""
    return torch.arange(n) + torch.rand(n, generator=draw)


def v_of(
    z: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    alpha_bar: Float[Tensor, "b 1 1 1"],
) -> Float[Tensor, "b c h w"]:
    r"""What v-prediction predicts.

    $$ v = \sqrt{\bar\alpha}\, \epsilon - \sqrt{1 - \bar\alpha}\, z $$
    """
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * z


def diffusion_loss(
    output: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    alpha_bar: Float[Tensor, " b"],
    gamma: float,
    prediction: PredictionKind = "eps",
    cell_weights: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    r"""Mean square error of the prediction, weighted by $w_t$, the `min_snr_weight`.

    The target $y$ is the noise $\epsilon$, or v. `cell_weights` multiply the square errors of
    the latent cells.

    $$ L = \mathbb{E}_{z, \epsilon, t}\; w_t\, \| y - y_\theta(x_t, t, c) \|^2 $$
    """
    square = (output - target).square()
    error = (square if cell_weights is None else cell_weights * square).mean(dim=(1, 2, 3))
    return (min_snr_weight(alpha_bar, gamma, prediction).to(error) * error).mean()


def min_snr_weight(
    alpha_bar: Float[Tensor, " b"], gamma: float, prediction: PredictionKind = "eps"
) -> Float[Tensor, " b"]:
    r"""Weight of an error, Hang et al. 2023 (arXiv:2303.09556) section 3.4.

    $$ w_\epsilon = \frac{\min(\mathrm{SNR}, \gamma)}{\mathrm{SNR}}, \qquad
       w_v = \frac{\min(\mathrm{SNR}, \gamma)}{\mathrm{SNR} + 1}, \qquad
       \mathrm{SNR} = \frac{\bar\alpha}{1 - \bar\alpha} $$

    Both weigh the error of the clean latent by min(SNR, gamma). Predicting the noise of an
    almost clean latent amounts to reproducing fine detail. Without the weight, such times
    dominate the training. `gamma` 0 gives all times weight 1.
    """
    if gamma <= 0:
        return torch.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / (snr if prediction == "eps" else snr + 1)
