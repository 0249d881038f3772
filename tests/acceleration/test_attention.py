import re
import sys
from math import log
from pathlib import Path

import pytest
import torch
from marks import slow
from torch.nn import functional as F

from labml_sd.acceleration import attention as module
from labml_sd.acceleration.attention import (
    INSTRUCTIONS,
    attention,
    c_compiler,
    compiled,
    instruction_set,
    own_kernel,
    suits,
)
from labml_sd.acceleration.transformer import PackedSpatialTransformer
from labml_sd.unet.spatial_transformer import SpatialTransformer

IN_C = f'-DTILES_IN_C="{Path(__file__).with_name("tiles_in_c.h")}"', "-Wno-psabi"
STRICT = "-Wall", "-Wextra", "-Werror"
# The largest relative error of one rounding to bfloat16; in float32, of some roundings: there
# the kernel rounds powers, sums and results alike.
ROUNDING = {torch.bfloat16: 2.0**-9, torch.float32: 2.0**-22}
FORMS = {
    "AMX in C": (torch.bfloat16, (*IN_C, "-D__AMX_BF16__")),
    "AVX512-BF16 in C": (torch.bfloat16, IN_C),
    "AVX-512 in C": (torch.float32, (*IN_C, "-DFLOAT32")),
}
for dtype, sets in INSTRUCTIONS.items():  # and as instructions, where the processor has them
    names = list(sets)
    here = names.index(instruction_set(dtype)) if instruction_set(dtype) else len(names)
    FORMS |= {name: (dtype, sets[name]) for name in names[here:]}


@pytest.fixture(scope="module")
def in_c():
    """The kernel with its instructions in plain C: on any processor."""
    assert c_compiler(), (
        "these tests compile attention.c: install a C compiler, or name one in CC"
    )
    return compiled(c_compiler(), *IN_C, *STRICT)


@pytest.fixture(scope="module", params=FORMS)
def kernel(request):
    dtype, options = FORMS[request.param]
    found = compiled(c_compiler(), *options, *STRICT)
    found.dtype = dtype
    return found


@pytest.fixture
def fresh():
    """No kernel is kept from before, and none is kept after."""
    yield own_kernel.cache_clear()
    own_kernel.cache_clear()


def drawn(randn, b, heads, n, m, d, amplitude=1.0, dtype=torch.bfloat16):
    q, k, v = (amplitude * randn(b, side, heads, d, seed=i) for i, side in enumerate((n, m, m)))
    return [x.to(dtype).transpose(1, 2) for x in (q, k, v)]


def error(found, given):
    """The length of the difference from float64, over that of the answer."""
    wanted = F.scaled_dot_product_attention(*(x.double() for x in given))
    return float((found.double() - wanted).norm() / wanted.norm())


def assert_as_exact_as_pytorch(kernel, given):
    theirs = error(F.scaled_dot_product_attention(*given), given)
    assert error(kernel(*given), given) <= 1.2 * theirs + 2.0**-24


@pytest.mark.holds("labml_sd.acceleration.attention")
@pytest.mark.parametrize("reference", [0.0, 30.0])
def test_the_displayed_equation_is_attention_for_any_reference(randn, assert_close, reference):
    q, k, v = (randn(7, 5, seed=i) for i in range(3))
    s = q @ k.T / (5**0.5 * log(2))
    weights = 2 ** (s - reference)
    o = weights @ v / weights.sum(1, keepdim=True)
    assert_close(o, F.scaled_dot_product_attention(q, k, v), 1e-13)


@pytest.mark.parametrize("place, degree, most", [(0, 6, 1e-8), (1, 3, 1.1e-4)])
def test_the_polynomial_is_a_power_of_two_as_exactly_as_its_comment_says(place, degree, most):
    source = module.SOURCE.read_text(encoding="utf-8")
    numbers = re.findall(r"factors\[\] = \{(.*?)\}", source, re.DOTALL)[place]
    factors = [float(number.strip().removesuffix("f")) for number in numbers.split(",")]
    fraction, power = torch.linspace(0, 1, 10_001, dtype=torch.float64), 0.0
    for factor in factors:
        power = power * fraction + factor
    error = float((power / 2**fraction - 1).abs().max())
    assert len(factors) == degree + 1 and 0.1 * most <= error <= most


@pytest.mark.parametrize(
    "n, m", [(1, 1), (33, 31), (25, 300), *slow((32, 32), (64, 77), (100, 513))]
)
@pytest.mark.parametrize("d", [2, 30, 40, 160, *slow(16, 32, 80)])
def test_the_kernel_is_attention(kernel, randn, n, m, d):
    given = drawn(randn, 2, 3, n, m, d, dtype=kernel.dtype)
    assert_as_exact_as_pytorch(kernel, given)


@pytest.mark.parametrize("amplitude", [0.01, 3.0, 30.0])
def test_small_and_large_numbers(kernel, randn, amplitude):
    given = drawn(randn, 1, 2, 70, 130, 40, amplitude, kernel.dtype)
    assert_as_exact_as_pytorch(kernel, given)


def test_it_reads_queries_keys_and_values_where_one_product_left_them(kernel, randn):
    n, heads, d = 50, 3, 40
    together = randn(2, n, 3 * heads * d).to(kernel.dtype)
    given = [x.view(2, n, heads, d).transpose(1, 2) for x in together.chunk(3, dim=-1)]
    found = kernel(*given)
    assert torch.equal(found, kernel(*(x.contiguous() for x in given)))
    assert found.transpose(
        1, 2
    ).is_contiguous()  # the heads of a token side by side, as the next layer wants


def test_a_reference_that_is_too_small_is_replaced(kernel, randn):
    q, k, v = drawn(randn, 1, 1, 40, 200, 32, dtype=kernel.dtype)
    k[..., 150:, :] *= (
        100  # after the first 32 keys: scores some 500 powers of two above theirs
    )
    s = (q @ k.mT).float() / (32**0.5 * log(2))
    assert (s.amax(-1) - s[..., :32].amax(-1)).max() > 128  # float32 would overflow
    assert_as_exact_as_pytorch(kernel, (q, k, v))


def test_nan_is_not_hidden_and_does_not_spread(kernel, randn):
    q, k, v = drawn(randn, 1, 2, 40, 70, 32, dtype=kernel.dtype)
    clean = kernel(q, k, v)
    q[0, 0, 3, 5] = torch.nan
    found = kernel(q, k, v)
    assert found[0, 0, 3].isnan().all()
    found[0, 0, 3] = clean[0, 0, 3]
    difference = float((found - clean).norm() / clean.norm())
    assert difference <= ROUNDING[kernel.dtype]  # its neighbours take another reference
    v[0, 1, 69, 0] = torch.inf
    assert not kernel(q, k, v)[0, 1, :, 0].isfinite().any()


def test_threads_do_not_change_a_bit(kernel, randn):
    given = drawn(randn, 2, 3, 200, 100, 40, dtype=kernel.dtype)
    threads = torch.get_num_threads()
    answers = []
    for n in (1, 2, 5):
        torch.set_num_threads(n)
        answers.append(kernel(*given))
    torch.set_num_threads(threads)
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


def test_no_memory_is_an_error(kernel, randn):
    q, k, _ = drawn(randn, 1, 1, 2, 2, 2, dtype=kernel.dtype)
    endless = k.as_strided((1, 1, 2**45, 2), (0, 0, 0, 1))
    with pytest.raises(MemoryError, match="no memory for its tiles"):
        kernel(q, endless, endless)


def test_what_the_kernel_cannot_read_goes_to_pytorch(randn):
    q, k, v = drawn(randn, 1, 2, module.FEWEST_QUERIES, 9, 8)
    assert suits(q, k, v)
    assert not suits(q[:, :, 1:], k, v)
    assert not suits(*(x.double() for x in (q, k, v)))
    assert not suits(q, k.float(), v)
    assert not suits(*(x[..., :7] for x in (q, k, v)))
    assert suits(*(x.float()[..., :7] for x in (q, k, v)))
    assert not suits(*(x[..., ::2] for x in (q, k, v)))
    assert not suits(*(x.to("meta") for x in (q, k, v)))
    assert not suits(q, k[:, :, :0], v[:, :, :0])
    q.requires_grad_()
    assert not suits(q, k, v)
    with torch.no_grad():
        assert suits(q, k, v)


def test_attention_uses_the_kernel_if_there_is_one(monkeypatch, in_c, randn):
    given = drawn(randn, 1, 2, module.FEWEST_QUERIES, 40, 8)
    for kernel in (in_c, None):
        monkeypatch.setattr(module, "own_kernel", lambda dtype, kernel=kernel: kernel)
        assert torch.equal(
            attention(*given), (kernel or F.scaled_dot_product_attention)(*given)
        )


def test_a_transformer_with_the_kernel_is_as_near_the_truth_as_without(
    monkeypatch, in_c, randomise, randn
):
    block = randomise(SpatialTransformer(32, 6, n_heads=2, n_layers=1, norm_groups=4).double())
    x, cond = (
        randn(2, 32, 8, 8).contiguous(memory_format=torch.channels_last),
        randn(4, 7, 6, seed=1),
    )
    wanted = block(x, cond)
    packed = PackedSpatialTransformer(block.bfloat16())
    monkeypatch.setattr(module, "FEWEST_QUERIES", 1)
    errors, calls = [], []
    for kernel in (lambda *given: calls.append(0) or in_c(*given), None):
        monkeypatch.setattr(module, "own_kernel", lambda dtype, kernel=kernel: kernel)
        found = packed(x.bfloat16(), cond.bfloat16())
        errors.append(float((found.double() - wanted).norm() / wanted.norm()))
    assert len(calls) == 2 and errors[0] <= 1.1 * errors[1]  # to itself, and to the prompts


def test_without_the_instructions_or_a_compiler_there_is_no_kernel(monkeypatch, fresh):
    monkeypatch.setattr(module, "instruction_set", lambda dtype: "")
    assert own_kernel(torch.bfloat16) is None
    assert module.which_kernel(torch.bfloat16) == "PyTorch's (no AMX or AVX512-BF16)"
    own_kernel.cache_clear()
    monkeypatch.setattr(module, "instruction_set", lambda dtype: "AMX")
    monkeypatch.setenv("CC", "there-is-no-such-compiler")
    assert (
        own_kernel(torch.bfloat16) is None
        and module.which_kernel(torch.bfloat16) == "PyTorch's (no C compiler for our own)"
    )


@pytest.mark.parametrize(
    "named, arguments",
    [("sh", []), ("sh -O2 -march='x y'", ["-O2", "-march=x y"]), (" env sh ", ["sh"])],
)
def test_the_compilers_name_may_have_arguments(monkeypatch, named, arguments):
    monkeypatch.setenv("CC", named)
    program, *found = c_compiler()
    assert Path(program).is_absolute() and found == arguments


def test_a_compiler_with_arguments_compiles(monkeypatch, in_c):
    (program,) = c_compiler()[:1]
    monkeypatch.setenv("CC", f"env {program} -O1")
    assert compiled(c_compiler(), *IN_C, *STRICT)


def test_a_path_with_a_space_is_one_program(monkeypatch, tmp_path):
    program = tmp_path / "my cc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    assert c_compiler() == (str(program),)


@pytest.mark.parametrize("named", ["there-is-no-such-compiler", "none gcc", "gcc 'odd", '""'])
def test_what_is_no_command_is_no_compiler(monkeypatch, named):
    monkeypatch.setenv("CC", named)
    assert c_compiler() == ()


@pytest.mark.parametrize("named", ["", "  ", None])
def test_without_a_name_it_is_cc(monkeypatch, named):
    monkeypatch.delenv("CC", raising=False)
    if named is not None:
        monkeypatch.setenv("CC", named)
    monkeypatch.setattr(module.shutil, "which", lambda program: f"/bin/{program}")
    assert c_compiler() == ("/bin/cc",)


def test_a_compiler_that_fails_is_named_once_and_pytorch_computes(
    monkeypatch, fresh, tmp_path, randn
):
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'no such option: -mamx-tile\nand more' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setattr(module, "instruction_set", lambda dtype: "AMX")
    given = drawn(randn, 1, 1, module.FEWEST_QUERIES, 5, 8)
    with pytest.warns(
        UserWarning,
        match=r"broken-cc did not compile attention\.c: no such option: -mamx-tile$",
    ):
        found = attention(*given)
    assert torch.equal(found, F.scaled_dot_product_attention(*given))
    assert own_kernel(torch.bfloat16) is None  # and does not warn again


@pytest.mark.parametrize("dtype", INSTRUCTIONS)
def test_the_kernel_is_compiled_for_what_the_processor_has(fresh, dtype):
    kernel, instructions = own_kernel(dtype), instruction_set(dtype)
    assert (kernel is not None) == bool(instructions)
    wanted = f"our own, for {instructions}" if instructions else "PyTorch's (no A"
    assert module.which_kernel(dtype).startswith(wanted)


AMX, BF16, AVX512 = "amx_bf16", "avx512_bf16", ("avx512_f", "avx512_dq")


@pytest.mark.parametrize(
    "has, initialised, expected",
    [
        ((AMX, BF16, *AVX512), True, ("AMX", "AVX-512")),
        ((AMX, BF16, *AVX512), False, ("AVX512-BF16", "AVX-512")),
        ((BF16, *AVX512), True, ("AVX512-BF16", "AVX-512")),
        (AVX512, True, ("", "AVX-512")),
        (("avx2", "avx512_f"), True, ("", "")),
    ],
)
def test_the_best_instructions_of_the_processor(monkeypatch, has, initialised, expected):
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(has, True))
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: initialised)
    instruction_set.cache_clear()
    assert tuple(map(instruction_set, (torch.bfloat16, torch.float32))) == expected
    instruction_set.cache_clear()


def test_a_second_openmp_is_noticed(monkeypatch, fresh, in_c):
    monkeypatch.setattr(module, "instruction_set", lambda dtype: "AMX")
    monkeypatch.setattr(module, "compiled", lambda *_: in_c)
    if sys.platform == "linux":
        assert own_kernel(torch.bfloat16) is in_c
    own_kernel.cache_clear()
    monkeypatch.setattr(module, "openmp_runtimes", lambda: {"libgomp.so.1", "libomp.so"})
    with pytest.warns(UserWarning, match="brings another OpenMP than PyTorch's"):
        assert own_kernel(torch.bfloat16) is None
    assert module.which_kernel(torch.bfloat16) == "PyTorch's (our own cannot be built)"
