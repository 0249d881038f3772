from labml_sd.checkpoint.files.weights import Stored
from labml_sd.checkpoint.kind import SD1
from labml_sd.checkpoint.report import LoadReport, compare


def report(listed, wanted, **found) -> LoadReport:
    weights = listed(**found)
    part = compare("unet", wanted, {name: Stored(weights, name) for name in found})
    return LoadReport(
        source="x.ckpt",
        kind=SD1,
        layout="CompVis",
        parts=(part,),
        ignored=("betas",),
        refused=("os.system",),
    )


def test_a_full_match_is_ok_and_has_nothing_to_say(listed):
    found = report(listed, {"a": (2, 3), "b": (4,)}, a=(2, 3), b=(4,))
    assert found.ok
    assert found.short() == ""
    assert (found.n_tensors, found.n_parameters) == (2, 10)


def test_missing_extra_and_wrong_shapes_are_told_apart(listed):
    found = report(listed, {"a": (2,), "b": (2,), "c": (2,)}, a=(2,), b=(3,), d=(1,))
    assert not found.ok
    assert found.matched == ("unet.a",)
    assert found.missing == ("unet.c",)
    assert found.extra == ("unet.d",)
    assert found.wrong_shape == (("unet.b", (2,), (3,)),)


def test_the_short_form_is_one_line_with_three_names_of_a_kind(listed):
    text = report(listed, {name: (1,) for name in "abcde"}, a=(2,)).short()
    assert text == (
        "wrong shape 1: unet.a (expected [1], found [2]); "
        "missing 4: unet.b, unet.c, unet.d, and 1 more"
    )


def test_the_printed_report_names_everything(listed):
    text = str(report(listed, {"a": (2,), "c": (2,)}, a=(2,), d=(1,)))
    for word in (
        "x.ckpt",
        "Stable Diffusion v1",
        "unet.c",
        "unet.d",
        "betas",
        "os.system",
        "float16",
    ):
        assert word in text


def test_a_1x1_convolution_may_be_stored_as_a_matrix(listed):
    assert report(listed, {"q": (4, 4, 1, 1)}, q=(4, 4)).ok
    assert not report(listed, {"q": (4, 4, 3, 3)}, q=(4, 4)).ok
