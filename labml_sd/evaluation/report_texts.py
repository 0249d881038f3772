r"""The words of the report: what each number means. The numbers are put in by report.py.

Maps       nothing; Markdown paragraphs
Tests      tests/evaluation/test_report.py
"""

ACCURACY = """\
Each prompt names every attribute of a scene; the probe, a classifier that has learnt from drawn scenes alone,
reads the picture. *count*: as many objects as asked for. *kind*: the object is there, anywhere; its *colour*,
*place* and *size* are read off it, or, when the kind is missing, off whatever stands where it was asked for.
*binding*: of prompts with two kinds in two colours, those where each kind has its colour. *mean*: of the
attributes above it but binding. *whole*: everything right at once. Held-out pairs of kind and colour were
never drawn in training. The last two columns show the probe scenes as drawn, and after the autoencoder.
Percent of the pictures; in brackets Wilson's 95% interval, each picture counted once."""

FRECHET = """\
On the {n_axes} axes in which the probe's features of drawn scenes differ most, each in units of its own
standard deviation; {n_pictures} pictures on either side, those of one and of two objects."""

CLIP = """\
Mean cosine between picture and caption, by both towers of the CLIP of this run (± 1.96 standard errors).
*another caption*: that of the next scene, what a picture scores that has nothing to do with its caption."""

NO_CLIP = "No CLIP score: it needs `clip.pt` of a training run in `--outdir`; a model's folder has no image tower."

SWEEPS = """\
One thing is varied, the others are those of {settings}. *mean* and *whole* as above, over {n_prompts}
prompts of all three kinds in turn. Diversity is that of {n_open} pictures of each prompt that names a kind
and nothing else ("a house"). *distance*: the mean distance of two pictures of one prompt, on the axes and
in the units of the Fréchet distance. *entropy*: how many bits an attribute that the prompt leaves open has,
a mean over sky, ground, light, colour, place and size. *drawn by code*: as many scenes of the training set
with that kind."""

NEGATIVE = """\
{n} prompts for each row that say nothing of a light; nights for the moon, days for the sun; the same noise
with and without the negative prompt. *all else as asked*: sky, ground, kind and colour."""

STRENGTH = """\
{n} drawn scenes, each under a prompt that agrees with it in nothing. *kept*: the share of the scene's sky,
ground, light, kind, colour, place and size that the probe still reads; *shown*: that of the prompt's. The
largest step the wrong way, from one strength to the next: kept {kept} points, shown {shown} points, pixels
{rms} grey levels (0: monotonic)."""

INPAINT = """\
{n} drawn scenes of one object on land; the box around it and around the new object is masked ({masked}% of
the picture on average), and the prompt names the same scene with another kind in another colour at that
place. *seam*: the mean difference of neighbouring pixels on both sides of the mask's border; in the
picture, in the new scene as code draws it, and in that scene with its own round trip through the
autoencoder in the mask, which is the seam that no painting can be without."""

SAMPLERS = """\
{n_prompts} prompts of all three kinds in turn at guidance {scale}, in {dtype}; the same noise in every cell.
Percent of the attributes, and of the pictures that show all of them; in brackets Wilson's 95% interval.
`heun`, `dpm_2`, `dpm_2_a`, `dpmpp_2s_a` and `dpmpp_sde` ask the network twice a step: their 10 steps cost as
much as 20 of the others."""

GUIDANCE = """\
20 steps of `dpmpp_2m`. *mean* and *whole* as above, over {n_prompts} prompts. *interval*: guidance only where
sigma is between {low:g} and {high:g}. *entropy*: how many bits an attribute that the prompt leaves open has,
over {n_open} pictures of each prompt that names a kind and nothing else. *contrast*: the standard deviation
of a picture's values, in grey levels, a mean over the pictures. *passes*: how many latents run through the
U-Net for one picture; a guided evaluation takes two. *1, both passes* runs the unconditional pass though the
scale is 1, as every evaluation would without the rule that leaves it out. Times include the decoder."""

CONVERGENCE = """\
The root mean square distance of the final latent to that of `{exact}` in {steps} steps, through every level
of the schedule; {n_prompts} prompts at guidance {scale}, the same noise for all, in {dtype}. The latents' own
root mean square is {size}; `{check}` in {check_steps} steps ends {apart} from it. All runs start at the
noisiest level and end at t = 0, where sigma is 0.029. In use, DDIM and PLMS end there as well, and the others
take one step more, of first order, into no noise at all; it is left out here. `heun` and `dpm_2` ask twice a
step, so they take half as many steps."""
