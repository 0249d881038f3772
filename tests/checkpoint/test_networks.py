from labml_sd.checkpoint.networks import networks, wanted_shapes


def test_the_shapes_are_those_of_a_built_model(model, config):
    built = {
        part: {k: tuple(v.shape) for k, v in net.state_dict().items()}
        for part, net in networks(model).items()
    }
    assert wanted_shapes(config) == built


def test_the_parts_hold_every_weight_of_the_model(model):
    assert sum(len(net.state_dict()) for net in networks(model).values()) == len(
        model.state_dict()
    )
