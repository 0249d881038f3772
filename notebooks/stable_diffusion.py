"""Stable Diffusion v1 in one file: three networks, two samplers, three jobs."""

import argparse
import math
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import torch
from einops import rearrange
from labml_sd.checkpoint.sources import open_source
from labml_sd.checkpoint.tokenizer_files import find_tokenizer
from PIL import Image
from torch import nn
from torch.nn import functional as F


def named(**layers):
    """Layers in a row, under the names that the checkpoint has."""
    return nn.Sequential(OrderedDict(layers))


def conv3(c_in, c_out, **options):
    return nn.Conv2d(c_in, c_out, 3, **{"padding": 1, **options})


def attend(q, k, v, heads, **options):
    q, k, v = (rearrange(y, "b n (h d) -> b h n d", h=heads) for y in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, **options)
    return rearrange(mixed, "b h n d -> b n (h d)")


# The text transformer: token ids [b 77] to vectors [b 77 d]
class CausalSelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.out_proj(attend(q, k, v, self.heads, is_causal=True))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class TextLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner = config.d_model, config.d_mlp
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = CausalSelfAttention(width, config.n_heads)
        fc1, fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.mlp = named(fc1=fc1, gelu=QuickGELU(), fc2=fc2)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        tokens = nn.Embedding(config.vocab_size, config.d_model)
        positions = nn.Embedding(config.n_positions, config.d_model)
        self.embeddings = named(token_embedding=tokens, position_embedding=positions)
        layers = [TextLayer(config) for _ in range(config.n_layers)]
        self.encoder = named(layers=nn.Sequential(*layers))
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, ids):
        x = self.embeddings.token_embedding(ids)
        x = x + self.embeddings.position_embedding.weight[: ids.shape[1]]
        return self.final_layer_norm(self.encoder(x))


def token_ids(tokenizer, prompt, config):
    """Start marker, tokens, and end markers up to 77."""
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    row = [config.bos_id, *tokens[: config.n_positions - 2]]
    return torch.tensor([row + [config.eos_id] * (config.n_positions - len(row))])


# The U-Net: latent [b 4 h w], time [1], prompt [rows 77 d] to noise [rows 4 h w]
def repeat_rows(x, rows):
    """One latent for two prompts: repeat the batch where a prompt first enters."""
    return x if len(x) == rows else torch.cat([x] * (rows // len(x)))


class CrossAttention(nn.Module):
    def __init__(self, width, d_cond, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(d_cond, width, bias=False)
        self.to_v = nn.Linear(d_cond, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x, source):
        q, k, v = self.to_q(x), self.to_k(source), self.to_v(source)
        return self.to_out(attend(q, k, v, self.heads))


class GeGLU(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerBlock(nn.Module):
    def __init__(self, width, d_cond, heads):
        super().__init__()
        self.attn1 = CrossAttention(width, width, heads)
        self.attn2 = CrossAttention(width, d_cond, heads)
        glu, linear = GeGLU(width, 4 * width), nn.Linear(4 * width, width)
        self.ff = named(net=nn.Sequential(glu, nn.Identity(), linear))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, cond):
        h = self.norm1(x)
        x = repeat_rows(x + self.attn1(h, h), len(cond))
        x = x + self.attn2(self.norm2(x), cond)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width, config):
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.proj_in, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(2))
        block = TransformerBlock(width, config.d_cond, config.heads(width))
        self.transformer_blocks = nn.ModuleList([block])

    def forward(self, x, cond):
        tokens = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        tokens = self.transformer_blocks[0](tokens, cond)
        y = self.proj_out(rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2]))
        return repeat_rows(x, len(y)) + y


class TimeResBlock(nn.Module):
    def __init__(self, c_in, c_out, config):
        super().__init__()
        norm1, norm2 = (nn.GroupNorm(config.norm_groups, c) for c in (c_in, c_out))
        conv1, conv2 = conv3(c_in, c_out), conv3(c_out, c_out)
        linear = nn.Linear(4 * config.channels, c_out)
        self.in_layers = nn.Sequential(norm1, nn.SiLU(), conv1)
        self.emb_layers = nn.Sequential(nn.SiLU(), linear)
        self.out_layers = nn.Sequential(norm2, nn.SiLU(), nn.Identity(), conv2)
        same_width = c_in == c_out
        self.skip_connection = (
            nn.Identity() if same_width else nn.Conv2d(c_in, c_out, 1)
        )

    def forward(self, x, time):
        h = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


def halve(width):
    return named(op=conv3(width, width, stride=2))


def double(width):
    return named(up=nn.Upsample(scale_factor=2.0), conv=conv3(width, width))


class Layers(nn.Sequential):
    def forward(self, x, time, cond):
        inputs = {TimeResBlock: [time], SpatialTransformer: [cond]}
        for layer in self:
            x = layer(x, *inputs.get(type(layer), []))
        return x


def layers(c_in, c_out, level, config):
    found = [TimeResBlock(c_in, c_out, config)]
    if level in config.attention_levels:
        found.append(SpatialTransformer(c_out, config))
    return found


def down_blocks(config):
    width = config.channels
    blocks, skips = [Layers(conv3(config.in_channels, width))], [width]
    for level, multiplier in enumerate(config.channel_multipliers):
        for _ in range(config.n_res_blocks):
            c_in, width = width, config.channels * multiplier
            blocks.append(Layers(*layers(c_in, width, level, config)))
            skips.append(width)
        if level < config.n_levels - 1:
            blocks.append(Layers(halve(width)))
            skips.append(width)
    return blocks, skips


def up_blocks(config, skips):
    blocks, skips = [], list(skips)
    width = skips[-1]
    for level, multiplier in reversed([*enumerate(config.channel_multipliers)]):
        for i in range(config.n_res_blocks + 1):
            c_in, width = width + skips.pop(), config.channels * multiplier
            block = layers(c_in, width, level, config)
            doubles = level > 0 and i == config.n_res_blocks
            blocks.append(Layers(*block, *([double(width)] if doubles else [])))
    return blocks


def sinusoids(t, width):
    index = torch.arange(width // 2, dtype=t.dtype, device=t.device)
    angle = t[:, None] * torch.exp(-math.log(10_000) * index / (width // 2))
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


class UNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.width, d = config.channels, 4 * config.channels
        time = nn.Linear(self.width, d), nn.SiLU(), nn.Linear(d, d)
        self.time_embed = nn.Sequential(*time)
        blocks, skips = down_blocks(config)
        w, out = skips[-1], conv3(self.width, config.out_channels)
        self.input_blocks = nn.ModuleList(blocks)
        res = [TimeResBlock(w, w, config) for _ in range(2)]
        self.middle_block = Layers(res[0], SpatialTransformer(w, config), res[1])
        self.output_blocks = nn.ModuleList(up_blocks(config, skips))
        norm = nn.GroupNorm(config.norm_groups, self.width)
        self.out = nn.Sequential(norm, nn.SiLU(), out)

    def forward(self, x, t, cond):
        time, skips = self.time_embed(sinusoids(t, self.width).to(x.dtype)), []
        for block in self.input_blocks:
            x = block(x, time, cond)
            skips.append(x)
        x = self.middle_block(x, time, cond)
        for block in self.output_blocks:
            skip = repeat_rows(skips.pop(), len(x))
            x = block(torch.cat([x, skip], dim=1), time, cond)
        return self.out(x)


# The autoencoder: image [b 3 H W] to latent [b 4 H/8 W/8] and back
class ResnetBlock(nn.Module):
    def __init__(self, c_in, c_out, groups):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in, groups), conv3(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out, groups), conv3(c_out, c_out)
        same_width = c_in == c_out
        self.nin_shortcut = nn.Identity() if same_width else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


def norm(width, groups):
    return nn.GroupNorm(groups, width, eps=1e-6)


class AttnBlock(nn.Module):
    def __init__(self, c, groups):
        super().__init__()
        self.norm = norm(c, groups)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        h, order = self.norm(x), "b c h w -> b (h w) c"
        q, k, v = (
            rearrange(f(h), order).contiguous() for f in (self.q, self.k, self.v)
        )
        mixed = rearrange(attend(q, k, v, 1), "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.proj_out(mixed)


def halve_two_sides(width):
    pad = nn.ZeroPad2d((0, 1, 0, 1))  # right and bottom only
    return named(pad=pad, conv=conv3(width, width, stride=2, padding=0))


def middle(c, groups):
    block_1, block_2 = ResnetBlock(c, c, groups), ResnetBlock(c, c, groups)
    return named(block_1=block_1, attn_1=AttnBlock(c, groups), block_2=block_2)


def level_blocks(c_in, c_out, n, groups):
    widths = pairwise([c_in] + [c_out] * n)
    return nn.Sequential(*(ResnetBlock(a, b, groups) for a, b in widths))


def encoder(config):
    groups, n, z = config.norm_groups, config.n_res_blocks, config.z_channels
    widths = [config.channels * m for m in (1, *config.channel_multipliers)]
    down = nn.Sequential()
    for i, (a, b) in enumerate(pairwise(widths), start=2):
        smaller = halve_two_sides(b) if i < len(widths) else nn.Identity()
        down.append(named(block=level_blocks(a, b, n, groups), downsample=smaller))
    return named(
        conv_in=conv3(config.image_channels, widths[0]),
        down=down,
        mid=middle(widths[-1], groups),
        norm_out=norm(widths[-1], groups),
        silu=nn.SiLU(),
        conv_out=conv3(widths[-1], 2 * z),
    )


def decoder(config):
    groups, n, z = config.norm_groups, config.n_res_blocks + 1, config.z_channels
    widths = [config.channels * m for m in config.channel_multipliers]
    up, last = {}, widths[-1]
    for i, width in reversed([*enumerate(widths)]):  # up.0, the largest, runs last
        larger = double(width) if i > 0 else nn.Identity()
        up[f"{i}"] = named(block=level_blocks(last, width, n, groups), upsample=larger)
        last = width
    return named(
        conv_in=conv3(z, widths[-1]),
        mid=middle(widths[-1], groups),
        up=named(**up),
        norm_out=norm(widths[0], groups),
        silu=nn.SiLU(),
        conv_out=conv3(widths[0], config.image_channels),
    )


class Autoencoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.scale, n = config.scale_factor, config.z_channels
        self.encoder, self.decoder = encoder(config), decoder(config)
        self.quant_conv = nn.Conv2d(2 * n, 2 * n, 1)
        self.post_quant_conv = nn.Conv2d(n, n, 1)

    def encode(self, image):
        mean, _log_variance = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return self.scale * mean

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z / self.scale))


# The model: three networks, a tokenizer and the table of the noise schedule
class MyStableDiffusion(nn.Module):
    def __init__(self, config, tokenizer):
        super().__init__()
        self.config, self.tokenizer, noise = config, tokenizer, config.schedule
        self.text_encoder = TextTransformer(config.text_encoder)
        self.unet = UNet(config.unet)
        self.autoencoder = Autoencoder(config.autoencoder)
        ends = math.sqrt(noise.beta_start), math.sqrt(noise.beta_end)
        exact = {"dtype": torch.float64, "device": "cpu"}
        beta = torch.linspace(*ends, noise.n_steps, **exact) ** 2
        self.alpha_bar = torch.cumprod(1 - beta, dim=0).tolist()

    def encode_prompt(self, prompt):
        ids = token_ids(self.tokenizer, prompt, self.config.text_encoder)
        ids = ids.to(self.autoencoder.quant_conv.weight.device)
        return self.text_encoder(ids)


def load(source="tiny", device="cpu", dtype=torch.float32):
    opened = open_source(source)  # {part: {name: weight}} of a file or a folder
    tokenizer = find_tokenizer(None, opened.tokenizer, opened.config.text_encoder)
    with torch.device("meta"):  # shapes only, until the weights come
        model = MyStableDiffusion(opened.config, tokenizer)
    for part, found in opened.found.items():
        network, weights = model.get_submodule(part), {}
        for name, old in network.state_dict().items():
            weight = found[name].read().reshape(old.shape)
            weights[name] = weight.to(device, dtype, copy=True)
        assert weights.keys() == found.keys()  # nothing is left over
        network.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


# Noise levels (time, alpha_bar) and samplers
CLEAN = (0.0, 1.0)


def add_noise(z, noise, level):
    _, ab = level
    return math.sqrt(ab) * z + math.sqrt(1 - ab) * noise


def log_snr(level):  # half of it: log(signal / spread)
    _, ab = level
    return math.inf if ab == 1 else -math.log(math.sqrt((1 - ab) / ab))


def noise_levels(alpha_bar, n_steps):
    n = len(alpha_bar)
    times = [round(n - i * n / n_steps) - 1 for i in range(n_steps)]
    return [*((float(t), alpha_bar[t]) for t in times), CLEAN]


def ddim(x, eps, x0, here, there, past):
    return math.sqrt(there[1]) * x0 + math.sqrt(1 - there[1]) * eps


def dpmpp_2m(x, eps, x0, here, there, past):
    h, ahead = log_snr(there) - log_snr(here), x0
    if past is not None and there != CLEAN:  # second order: a line through two x0
        before, x0_before = past
        slope = 0.5 * h / (log_snr(here) - log_snr(before))
        ahead = (1 + slope) * x0 - slope * x0_before
    ratio = math.sqrt((1 - there[1]) / (1 - here[1]))
    return ratio * x - math.sqrt(there[1]) * math.expm1(-h) * ahead


# The loop: guidance, one step of the sampler, and the blend of in-painting
def predict_noise(model, x, level, cond, uncond, scale):
    t = torch.full((1,), level[0], device=x.device)
    both = model.unet(x.to(cond.dtype), t, torch.cat([uncond, cond])).to(x.dtype)
    without, with_prompt = both.chunk(2)
    return without + scale * (with_prompt - without)


def sample(predict, step, x, levels, blend):
    past, x = None, blend(x, levels[0])
    for here, there in pairwise(levels):
        eps = predict(x, here)
        x0 = (x - math.sqrt(1 - here[1]) * eps) / math.sqrt(here[1])
        x = blend(step(x, eps, x0, here, there, past), there)
        past = here, x0
    return x


# The three jobs: from a prompt; from an image's latent z; inside the cells of a mask
@torch.no_grad()
def draw_latents(model, prompt, z=None, cells=None, *, strength=1.0, **options):
    choice = {"negative": "", "seeds": (0,), "steps": 20, "step": dpmpp_2m}
    choice |= {"scale": model.config.guidance_scale, **options}
    config, steps, n = model.config, choice["steps"], len(choice["seeds"])
    prompts = prompt, choice["negative"]
    cond, uncond = (model.encode_prompt(p)[[0] * n] for p in prompts)
    side = config.image_size // config.autoencoder.downsampling_factor
    shape = (config.autoencoder.z_channels, side, side) if z is None else z.shape[1:]
    makers = [torch.Generator().manual_seed(seed) for seed in choice["seeds"]]
    noise = torch.stack([torch.randn(shape, generator=g) for g in makers])
    noise = noise.to(cond.device)
    levels = noise_levels(model.alpha_bar, steps)
    if choice["step"] is ddim:  # it ends at the cleanest level of training
        levels[-1] = (0.0, model.alpha_bar[0])
    levels = levels[-max(1, int(strength * steps + 1e-6)) - 1 :]
    from_noise = z is None or (cells is not None and strength == 1)
    x = noise if from_noise else add_noise(z, noise, levels[0])

    def predict(x, level):
        return predict_noise(model, x, level, cond, uncond, choice["scale"])

    def blend(x, level):
        if cells is None:
            return x
        return x * cells + add_noise(z, noise, level) * (1 - cells)

    return sample(predict, choice["step"], x, levels, blend)


@torch.no_grad()
def encode_image(model, image):
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    weight = model.autoencoder.quant_conv.weight
    return model.autoencoder.encode((pixels.float() / 127.5 - 1).to(weight)).float()


@torch.no_grad()
def decode_images(model, z):
    x = model.autoencoder.decode(z.to(model.autoencoder.post_quant_conv.weight)).float()
    values = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(v) for v in values.permute(0, 2, 3, 1).cpu().numpy()]


def txt2img(model, prompt, **options):
    return decode_images(model, draw_latents(model, prompt, **options))


def img2img(model, prompt, image, strength=0.75, **options):
    z = encode_image(model, image)
    z = draw_latents(model, prompt, z, strength=strength, **options)
    return decode_images(model, z)


def mask_cells(model, mask):
    """1 for each cell of the latent with a pixel to draw again."""
    white = torch.from_numpy(np.array(mask))[None, None] > 0
    cells = F.max_pool2d(white.float(), model.config.autoencoder.downsampling_factor)
    return cells.to(model.autoencoder.quant_conv.weight.device)


def inpaint(model, prompt, image, mask, **options):
    z, cells = encode_image(model, image), mask_cells(model, mask)
    painted = decode_images(model, draw_latents(model, prompt, z, cells, **options))
    m, old = np.asarray(mask, int)[..., None], np.asarray(image, int)
    mixed = [
        ((255 - m) * old + m * np.asarray(new, int) + 127) // 255 for new in painted
    ]
    return [Image.fromarray(pixels.astype(np.uint8)) for pixels in mixed]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="picture.png")
    asked = parser.parse_args()
    picture = txt2img(load(asked.model), asked.prompt, seeds=(asked.seed,))[0]
    picture.save(asked.output)


if __name__ == "__main__" and "__file__" in globals():  # a notebook has no __file__
    main()
