r"""Small tools without knowledge of diffusion.

device.py       names -> torch.device, torch.dtype; a device in words
numbers.py      numbers of NumPy and PyTorch -> Python's
shapes_only.py  build networks without allocating weights
interrupt.py    hold Ctrl-C back until the end of a step
replace.py      write a file or folder completely or not at all
"""
