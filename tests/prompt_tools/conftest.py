from small_gpt2 import gpt2

__all__ = ["gpt2"]
