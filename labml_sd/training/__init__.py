"""Room: scenes -> the tiny model.

recipe.py             every number of a run
scenes.py             (seed, index) -> scene -> picture, caption; drawing.py and things.py draw it
learn_bpe.py          captions -> tokenizer
data.py               (seed, step) -> batch
loop.py               the training loop of all stages: log, save, resume
train_autoencoder.py  stage 1: image <-> latent
train_decoder.py      stage 2: the decoder alone once more
train_clip.py         stage 3: which caption belongs to which picture; near_misses.py has the hard ones
latents.py            every scene through the frozen autoencoder, once
train_diffusion.py    stage 4: the noise in a latent, given a caption
stages.py             the stages in a row; command.py is `labml-sd train`
probe.py              picture -> what is in it, read by a small classifier
judge.py              what was asked, what is there -> right or wrong; frechet.py compares sets of pictures
evaluate.py           a model -> how often it draws what the prompt says
"""
