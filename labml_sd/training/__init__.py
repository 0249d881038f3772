"""Room: scenes -> the tiny model.

recipe.py             every number of a run
scenes.py             (seed, index) -> scene -> picture, caption; drawing.py and things.py draw it
learn_bpe.py          captions -> tokenizer
data.py               (seed, step) -> batch
loop.py               the training loop of all stages: learn, log, save, resume
run.py                what a stage keeps and shows; curve.py draws its loss; interrupt.py holds Ctrl-C back
processes.py          several processes or GPUs as one
train_autoencoder.py  stage 1: image <-> latent
train_decoder.py      stage 2: the decoder alone once more
train_clip.py         stage 3: which caption belongs to which picture; near_misses.py has the hard ones
latents.py            every scene through the frozen autoencoder, once
train_diffusion.py    stage 4: the noise in a latent, given a caption
stages.py             the stages in a row; command.py is `labml-sd train`
probe.py              picture -> what is in it, read by a small classifier
judge.py              what was asked, what is there -> right or wrong; frechet.py compares sets of pictures
studio.py             pictures for the measurements, drawn and read in batches
evaluate.py           a model -> how often it draws what the prompt says; clip_score.py, diversity.py
sweeps.py             the same at other settings; edits.py, repainting.py: for edits
dtypes.py             pictures in narrow types against float32
measure.py            all of these in parts, kept by results.py, told by report.py
card.py               the model card, from what was measured; evaluate_command.py is the command
"""
