"""Draws with an offloaded model whose U-Net is compiled, and prints what happened, as JSON.

In a process of its own: the shape checks that wrap every function in the tests cannot be
compiled.
"""

import json

import torch

import labml_sd as sd
from labml_sd import offload
from labml_sd.acceleration.compiled import compile_unet
from labml_sd.offload import Offloaded

offload.placed = lambda weight, device: weight.clone()


def main():
    graphs, counts, drawn = [], [], []
    plain = sd.load_model(device="cpu", dtype="float32", fast=True)
    compile_unet(plain.unet, lambda graph, inputs: graphs.append(graph) or graph.forward)
    offloaded = Offloaded(plain, torch.device("cpu"))
    for model in (offloaded, offloaded, plain):
        drawn.append(draw(model))
        counts.append(len(graphs))
    print(json.dumps({"graphs": counts, "same": drawn[0] == drawn[1] == drawn[2]}))


def draw(model):
    settings = {"steps": 2, "height": 32, "width": 32, "progress": False}
    return sd.txt2img(model, "a red house", **settings)[0].tobytes()


if __name__ == "__main__":
    main()
