"""The ledger: multiplications and parameters of each network, by kind of module.

`python benchmarks/ledger.py`

Counted on the meta device, the products of attention included. A multiply-add is two FLOP.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import ModelConfig, sd_v1
from labml_sd.text_encoder import CLIPTextTransformer
from labml_sd.unet import UNet
from labml_sd.unet.attention import AttentionKind

KINDS = (
    "conv3x3", "conv1x1", "feed-forward", "self-attention products",
    "self-attention q k v, cross q", "attention out", "cross-attention products",
    "cross-attention k v", "time", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Account:
    """Operations and parameters of one network for one input."""

    flops: Counter[str]
    parameters: int

    @property
    def total(self) -> int:
        """All operations."""
        return self.flops.total()


def kind_of(name: str, module: nn.Module) -> str:
    """The row of the table for a module's own operations."""
    if isinstance(module, nn.Conv2d):
        return "conv3x3" if module.kernel_size == (3, 3) else "conv1x1"
    if name.endswith((".attn1", ".attn2")):
        return f"{'self' if name.endswith('1') else 'cross'}-attention products"
    if ".ff." in name:
        return "feed-forward"
    if ".to_out." in name:
        return "attention out"
    if name.endswith((".attn2.to_k", ".attn2.to_v")):
        return "cross-attention k v"
    if name.endswith((".to_q", ".to_k", ".to_v")):
        return "self-attention q k v, cross q"
    return "time" if "time_embed" in name or "emb_layers" in name else "other"


@torch.no_grad()
def count(call: Callable[[], Tensor], *networks: nn.Module) -> Counter[str]:
    """The operations of `call`, which calls these networks, by kind of module."""
    with FlopCounterMode(display=False) as counter:
        call()
    flops = {
        name: sum(by_operator.values())
        for name, by_operator in counter.get_flop_counts().items()
    }
    booked: Counter[str] = Counter()
    for network in networks:
        for name, module in network.named_modules(prefix=type(network).__name__):
            below = sum(flops.get(f"{name}.{child}", 0) for child, _ in module.named_children())
            booked[kind_of(name, module)] += flops.get(name, 0) - below
    assert booked.total() == flops["Global"], "operations outside of all modules"
    return +booked  # without kinds that have none


def n_parameters(network: nn.Module) -> int:
    """The number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def unet(
    size: int = 512,
    batch: int = 1,
    config: ModelConfig | None = None,
    attention: AttentionKind = "flash",
) -> Account:
    """The U-Net on `batch` latents of size x size pixels; with guidance an image has two."""
    config = config or sd_v1()
    side = size // config.autoencoder.downsampling_factor
    with torch.device("meta"):
        network = UNet(config.unet)
        x, t = torch.empty(batch, config.unet.in_channels, side, side), torch.empty(batch)
        cond = torch.empty(batch, config.text_encoder.n_positions, config.unet.d_cond)
    network.use_attention(attention)
    return Account(count(lambda: network(x, t, cond), network), n_parameters(network))


def inpainting() -> ModelConfig:
    """SD v1 for in-painting: the U-Net also gets the mask and the masked image's latent."""
    return replace(sd_v1(), unet=replace(sd_v1().unet, in_channels=9))


def decode(size: int = 512, config: ModelConfig | None = None) -> Account:
    """The decoder. The parameters are those of the whole autoencoder."""
    return _autoencoder(size, config or sd_v1(), encodes=False)


def encode(size: int = 512, config: ModelConfig | None = None) -> Account:
    """The encoder. The parameters are those of the whole autoencoder."""
    return _autoencoder(size, config or sd_v1(), encodes=True)


def _autoencoder(size: int, model: ModelConfig, encodes: bool) -> Account:
    config = model.autoencoder
    side = size // config.downsampling_factor
    with torch.device("meta"):
        network = Autoencoder(config)
        image, z = torch.empty(1, 3, size, size), torch.empty(1, config.z_channels, side, side)

    # As `encode` and `decode` do, but with each module called by itself, which gives its
    # operations its name.
    def run() -> Tensor:
        if encodes:
            return network.quant_conv(network.encoder(image))
        return network.decoder(network.post_quant_conv(z))

    called = (
        (network.encoder, network.quant_conv)
        if encodes
        else (network.post_quant_conv, network.decoder)
    )
    return Account(count(run, *called), n_parameters(network))


def text(n_prompts: int = 1) -> Account:
    """The text encoder."""
    config = sd_v1().text_encoder
    with torch.device("meta"):
        network = CLIPTextTransformer(config)
        ids = torch.zeros(n_prompts, config.n_positions, dtype=torch.long)
    return Account(count(lambda: network(ids), network), n_parameters(network))


def main() -> None:
    """Print both tables."""
    accounts = {
        "text encoder, one prompt": text(),
        "decode 512": decode(),
        "encode 512": encode(),
    }
    accounts |= {f"U-Net {size}": unet(size) for size in (256, 512, 768, 1024)}
    for name, account in accounts.items():
        print(f"{name:26} {account.total / 2e9:9.2f} GMAC {account.parameters:13,} parameters")
    print("\nU-Net 512 by kind of module")
    for kind in KINDS:
        print(f"  {kind:31} {accounts['U-Net 512'].flops[kind] / 2e9:7.2f} GMAC")


if __name__ == "__main__":
    main()
