import pytest

from labml_sd.checkpoint.kind import recognise

UNET = "model.diffusion_model."


def unet(prefix=UNET, d_cond=768, channels=4, linear=False, **more):
    proj = (320, 320) if linear else (320, 320, 1, 1)
    return {
        f"{prefix}input_blocks.0.0.weight": (320, channels, 3, 3),
        f"{prefix}input_blocks.1.1.proj_in.weight": proj,
        f"{prefix}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, d_cond),
        **more,
    }


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        (unet(), "sd1"),
        (unet(d_cond=128), "latent-diffusion"),
        (unet(d_cond=1024, linear=True), "sd2"),
        (unet(**{"cond_stage_model.model.ln_final.weight": (1024,)}), "sd2"),
        (unet(d_cond=2048, linear=True), "sdxl"),
        (unet(channels=5, d_cond=1024, linear=True), "depth"),
        (unet(channels=7, d_cond=1024), "upscaler"),
        (unet(channels=8), "pix2pix"),
        (unet(channels=9), "sd1-inpainting"),
        (unet(channels=9, d_cond=1024, linear=True), "sd2-inpainting"),
        (unet(**{"cond_stage_model.model.visual.proj": (1024, 768)}), "image-variations"),
        (unet(prefix=""), "unet"),
        (
            {
                "conv_in.weight": (320, 4, 3, 3),
                "time_embedding.linear_1.weight": (1280, 320),
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            },
            "unet",
        ),
        ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "autoencoder"),
        ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "autoencoder"),
        ({"text_model.embeddings.token_embedding.weight": (49408, 768)}, "text-encoder"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320)}, "lora"),
        ({"unet.down_blocks.0.attentions.0.attn1.to_q.lora_A.weight": (4, 320)}, "lora"),
        ({"down_blocks.0.attn1.processor.to_q_lora.down.weight": (4, 320)}, "lora"),
        ({**unet(), "control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}, "controlnet"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "controlnet"),
        (
            {
                "adapter.conv_in.weight": (320, 192, 3, 3),
                "adapter.body.0.block1.weight": (320, 320, 3, 3),
            },
            "t2i-adapter",
        ),
        ({"emb_params": (2, 768)}, "embedding"),
        ({"<cat>": (768,)}, "embedding"),
        ({"<cat>": (2, 128)}, "embedding"),  # of the tiny model
        ({"<cat>": (768,), "<dog>": (3, 768)}, "embedding"),
        ({"0.<cat>": (768,), "1.<cat>": (768,)}, "embedding"),
        ({"a": (768,), "b": (768,)}, "unknown"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "embedding"),
        ({"params_ema.conv_first.weight": (64, 3, 3, 3)}, "esrgan"),
        ({"a": (3,)}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_keys_and_shapes_tell_the_kind(listed, shapes, name):
    assert recognise(listed(**shapes)).name == name


def test_an_embedding_of_a1111_is_told_by_its_dictionary(listed):
    assert recognise(listed(entries=("string_to_token", "string_to_param"))).name == "embedding"


def test_models_of_sd1_and_sd2_can_be_loaded(listed):
    for sizes in ({}, {"d_cond": 128}, {"d_cond": 1024, "linear": True}, {"channels": 9}):
        assert recognise(listed(**unet(**sizes))).loadable
    later = recognise(listed(**unet(d_cond=2048)))
    assert not later.loadable
    assert "not supported; expected" in later.sentence
