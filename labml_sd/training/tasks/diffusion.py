r"""Stage 4: the U-Net learns to tell the noise in a latent, given a caption.

Maps       latents, captions  ->  UNet (and its average)
Paper      Ho et al. 2020, arXiv:2006.11239, algorithm 1; Ho and Salimans 2022, arXiv:2207.12598, algorithm 1
Tests      tests/training/tasks/test_diffusion.py
"""

from itertools import count
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import NoiseSource, get_sampler, guided, sample
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import generator
from labml_sd.training.image_grid import save_rows
from labml_sd.training.latents import LatentSet
from labml_sd.training.precision import autocast
from labml_sd.training.processes import ALONE, Processes
from labml_sd.unet import UNet

PICTURE_PROMPTS = (
    "a red house in the snow at night",
    "a large yellow tree on the left on the grass by day under the sun",
    "a small blue boat on the right on the sea at sunset",
    "a black cat in the middle on the beach by day and a green balloon on the left",
    "a purple balloon on the right over the snow at sunset with the sun",
    "a small white car on the left on the grass at night under the moon",
)


class DiffusionTask:
    """Noise a latent to a random time; ask for the noise; the error, weighted, is the loss.

    The autoencoder and the text encoder are frozen: only the U-Net learns.
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
        """`model` holds the trained autoencoder and text encoder; its U-Net is filled with fresh weights."""
        torch.manual_seed(seed)
        self.recipe, self.seed, self.latents = recipe.diffusion, seed, latents
        self.processes = processes
        self.model = model.requires_grad_(False)
        self.model.unet = UNet(recipe.model.unet).to(model.device)
        zero_outputs(self.model.unet)
        if model.device.type == "cpu":
            # Same numbers; backwards, the CPU's flash kernel takes half of a step at this head
            # size.
            self.model.unet.use_attention("normal")
        self.networks: nn.Module = self.model.unet
        self.alpha_bar = model.schedule.alpha_bar.to(model.device)

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Weighted loss, and the plain mean square error for comparison with other work."""
        draw, share = generator(self.seed, step, "diffusion"), self.processes.share
        n, device = self.processes.count * self.recipe.batch_size, self.model.device
        index = torch.randint(0, len(self.latents.mean), (n,), generator=draw)
        z = self._latents(index, draw)
        t = share(stratified_times(n, len(self.alpha_bar), draw)).to(device)
        noise = share(torch.randn(z.shape, generator=draw)).to(device)
        alpha_bar = self.alpha_bar[t]
        signal, spread = (
            alpha_bar.sqrt()[:, None, None, None],
            (1 - alpha_bar).sqrt()[:, None, None, None],
        )
        x = (signal * share(z).to(device) + spread * noise).float()
        with autocast(device):
            with torch.no_grad():
                cond = self.model.encode_prompt(self._captions(index, step, draw))
            eps = self.networks(x, t, cond).float()
        loss = diffusion_loss(eps, noise, alpha_bar, self.recipe.snr_gamma)
        return {"loss": loss, "mse": (eps.detach() - noise).square().mean()}

    def _latents(self, index: Int[Tensor, " b"], draw: Generator) -> Float[Tensor, "b z h w"]:
        mean, std = self.latents.mean[index].float(), self.latents.std[index].float()
        drawn = mean + std * torch.randn(mean.shape, generator=draw)
        return self.model.autoencoder.scaled(drawn)

    def _captions(self, index: Int[Tensor, " b"], step: int, draw: Generator) -> list[str]:
        """New words for a scene each time it is seen; some captions are left empty."""
        lots = torch.rand((len(index), 2), generator=draw).tolist()
        captions = []
        for k, i, (lot_empty, lot_full) in self.processes.share(
            list(zip(count(), index.tolist(), lots))
        ):
            scene = Scene.sample(self.seed, i)
            full = lot_full < self.recipe.full_captions
            empty = lot_empty < self.recipe.prompt_dropout
            captions.append(
                "" if empty else scene.caption(seed=step * len(index) + k, full=full)
            )
        return captions

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Six prompts, twice, 20 steps of DDIM."""
        model, networks = self.model, networks.eval()
        channels, height, width = self.latents.mean.shape[1:]
        seeds = list(range(len(PICTURE_PROMPTS)))
        rows = []
        with torch.inference_mode(), autocast(model.device):
            cond, uncond = (
                model.encode_prompt(list(PICTURE_PROMPTS)).float(),
                model.encode_prompt("").float(),
            )
            sampler = get_sampler("ddim")
            for first in (0, 100):
                source = NoiseSource(
                    [first + s for s in seeds],
                    (channels, height, width),
                    model.device,
                    torch.float32,
                )
                evaluate = guided(networks, cond, uncond, model.config.guidance_scale)
                levels = sampler.levels(model.schedule, 20)
                z = sample(
                    sampler, evaluate, source.draw(), levels, draw=source.draw, progress=False
                )
                rows.append(model.decode_latent(z).float())
        save_rows(rows, path)


def zero_outputs(unet: UNet) -> None:
    """Let every block start as the identity, and the network answer "no noise", as CompVis' zero_module does.

    The last layer of each ResBlock, of each transformer and of the network starts at 0.
    Training then adds what helps, where random blocks would first have to be calmed down.
    """
    for name, weight in unet.named_parameters():
        if ".out_layers.3." in name or ".proj_out." in name or name.startswith("out.2."):
            nn.init.zeros_(weight)


def stratified_times(n: int, n_steps: int, draw: Generator) -> Int[Tensor, " n"]:
    """One time from each of n equal parts of the schedule: the mean of n free draws, with less scatter."""
    return (
        ((torch.arange(n) + torch.rand(n, generator=draw)) * n_steps / n)
        .long()
        .clamp(max=n_steps - 1)
    )


def diffusion_loss(
    eps: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    alpha_bar: Float[Tensor, " b"],
    gamma: float,
) -> Float[Tensor, ""]:
    r"""Error of the predicted noise, a mean over all numbers and over the batch; $w_t$ is `min_snr_weight`.

    $$ L = \mathbb{E}_{z, \epsilon, t}\; w_t\, \| \epsilon - \epsilon_\theta(x_t, t, c) \|^2 $$
    """
    error = (eps - noise).square().mean(dim=(1, 2, 3))
    return (min_snr_weight(alpha_bar, gamma).to(error) * error).mean()


def min_snr_weight(alpha_bar: Float[Tensor, " b"], gamma: float) -> Float[Tensor, " b"]:
    r"""Weight of the noise error, Hang et al. 2023 (arXiv:2303.09556) section 3.4.

    $$ w = \frac{\min(\mathrm{SNR}, \gamma)}{\mathrm{SNR}}, \qquad
       \mathrm{SNR} = \frac{\bar\alpha}{1 - \bar\alpha} $$

    Telling the noise in an almost clean latent is as good as telling the picture's fine grain.
    Without the weight such times take most of the learning. `gamma` 0 weighs all alike.
    """
    if gamma <= 0:
        return torch.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / snr
