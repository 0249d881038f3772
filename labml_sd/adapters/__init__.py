r"""What changes a model for one call, without writing its weights.

textual_inversion.py  a name -> learned vectors in the place of token embeddings
"""

from labml_sd.adapters.textual_inversion import Embedding

__all__ = ["Embedding"]
