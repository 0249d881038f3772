r"""Trains the tiny model from scratch on drawn scenes.

learn_bpe.py    captions -> tokenizer
data.py         (seed, step) -> a batch of scenes and pictures
augment.py      images -> the same with blur, noise, another brightness
latents.py      scenes -> their latents, encoded once by the frozen autoencoder
captions.py     scenes -> what the frozen text transformer makes of their captions
loop.py         the training loop: step, log, save, resume
run.py          the state of one stage: what is saved and shown
state_files.py  its file, complete or not at all
progress.py     the loss as a table and a plot, batches of pictures as one PNG
processes.py    several processes or GPUs train as one
tasks/          networks and loss, one file a task
stages.py       the order of the stages: autoencoder, decoder, clip, diffusion
"""
