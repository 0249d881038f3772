"""Named tensors in a file: .safetensors, and .ckpt as torch.save writes it."""
