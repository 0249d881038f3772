from labml_sd.tiny.recipe import RECIPES


def test_the_tiny_recipe_fits_its_own_numbers():
    recipe = RECIPES["tiny"]
    assert recipe.autoencoder.crop % recipe.model.autoencoder.downsampling_factor == 0
    assert recipe.model.image_size % recipe.model.size_multiple == 0
    assert recipe.model.unet.in_channels == recipe.model.autoencoder.z_channels
