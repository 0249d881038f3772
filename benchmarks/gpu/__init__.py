"""One command that proves the package on a GPU: `benchmarks/gpu.sh`.

stages.py           the stages in order of worth, each with its budget
run.py, process.py  run them one after the other, each in its own process
child.py            such a process from inside
context.py          what a stage is given, and where it writes what it finds
sizes.py            how large everything is: on the GPU, and in a dry run
estimate.py         what each stage should cost, from the ledger of operations
page.py             the readable page: floors.py holds what must be so, tables.py the rest

A stage is a module with a function `measure(context)`:

environment.py      versions, the rate of a matrix product, the rate of a copy
gpu_tests.py        `pytest -m gpu`; recorder.py writes each result down when it is known
images.py           the bundled model, against the CPU's images
waiting.py          where a loop waits for the GPU
steps.py            U-Net steps of a random SD v1, beside diffusers
whole_images.py     30 steps from prompt to pixels, and decoding
finite.py           no NaN in float16
offload.py          whole images with networks that wait on the CPU
training.py         the tiny U-Net trained on
"""
