import torch

from labml_sd.training import precision


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    a = torch.ones(4, 4)
    for flags, dtype in (({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        with precision.autocast(cpu):
            assert (a @ a).dtype == dtype
