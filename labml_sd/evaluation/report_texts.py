r"""The explanations in the report: what each number means.

Maps       nothing; Markdown paragraphs with places for the numbers
Tests      tests/evaluation/test_report.py
"""

ACCURACY = """\
Each prompt names every attribute of a scene. The probe, a classifier trained on drawn scenes
only, reads the scene from the picture. *count*: the number of objects is right. *kind*: an
object of that kind is anywhere in the picture. *colour*, *place* and *size* are those of
this object or, if the kind is missing, of the object at the place in the prompt. *binding*:
of prompts with two kinds in two colours, those where each kind has its colour. *mean*: of
the attributes above it except binding. *whole*: all of them are right. Held-out pairs of
kind and colour were not shown in training. The last two columns show the probe drawn scenes,
directly and after the autoencoder. Values are percentages of the pictures; in brackets
Wilson's 95% interval, with each picture counted once."""

FRECHET = """\
It is measured on the {n_axes} principal axes of the probe's features of drawn scenes, each
in units of its standard deviation, between two sets of {n_pictures} pictures of one and two
objects."""

CLIP = """\
Mean cosine between picture and caption, by both towers of the CLIP of this training run (±
1.96 standard errors). *another caption*: the caption of the next scene, as a baseline."""

NO_CLIP = """\
No CLIP score: it needs `clip.pt` of a training run in `--outdir`. A saved model has no image
tower."""

SWEEPS = """\
One setting is varied, the others are {settings}. *mean* and *whole* as above, over
{n_prompts} prompts of all three kinds. Diversity is measured on {n_open} pictures of each
prompt that only names a kind ("a house"). *distance*: the mean distance between two pictures
of one prompt, on the axes and in the units of the Fréchet distance. *entropy*: bits of an
attribute that the prompt does not specify, averaged over sky, ground, light, colour, place
and size. *drawn by code*: as many scenes of the training set with that kind."""

NEGATIVE = """\
{n} prompts in each row that do not mention a light: nights for the moon, days for the sun,
with the same noise with and without the negative prompt. *other attributes right*: sky,
ground, kind and colour."""

STRENGTH = """\
{n} drawn scenes, each edited with a prompt that contradicts all of its attributes. *kept*:
the share of the scene's sky, ground, light, kind, colour, place and size that the probe
still reads; *shown*: the share of the prompt's. Largest step in the wrong direction from one
strength to the next: kept {kept} points, shown {shown} points, pixels {rms} grey levels (0:
monotonic)."""

INPAINT = """\
{n} drawn scenes of one object on land. The mask is the box around the object and the new
object ({masked}% of the picture on average); the prompt describes the same scene with an
object of another kind and colour at that place. *seam*: the mean difference between
neighbouring pixels on both sides of the mask's border. *painted*: in the result; *drawn by
code*: in the new scene; *round trip*: in the new scene with the masked area passed through
the autoencoder, which is the part of the seam that the autoencoder causes."""

SAMPLERS = """\
{n_prompts} prompts of all three kinds at guidance {scale}, in {dtype}, with the same noise
in every cell. Percentages of the attributes, and of the pictures that show all of them; in
brackets Wilson's 95% interval. `heun`, `dpm_2`, `dpm_2_a`, `dpmpp_2s_a` and `dpmpp_sde`
evaluate the network twice in a step: their 10 steps cost as much as 20 of the others."""

GUIDANCE = """\
20 steps of `dpmpp_2m`. *mean* and *whole* as above, over {n_prompts} prompts. *interval*:
guidance only where sigma is between {low:g} and {high:g}. *entropy*: bits of an attribute
that the prompt does not specify, over {n_open} pictures of each prompt that only names a
kind. *contrast*: the standard deviation of a picture's values in grey levels, averaged over
the pictures. *passes*: latents through the U-Net for one picture; a guided evaluation takes
two. *1, both passes*: scale 1 without the rule that skips the unconditional pass. Times
include the decoder."""

CONVERGENCE = """\
Root mean square distance of the final latent to that of `{exact}` in {steps} steps, which go
through every level of the schedule; {n_prompts} prompts at guidance {scale}, with the same
noise, in {dtype}. The root mean square of the latents is {size}; the distance of `{check}`
in {check_steps} steps is {apart}. All runs start at the highest noise level and end at t =
0, where sigma is 0.029. By default only DDIM and PLMS end there; the other samplers take one
more step, of first order, to sigma = 0, which is left out here. `heun` and `dpm_2` evaluate
the network twice in a step, so they take half as many steps."""
