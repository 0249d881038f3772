r"""Measures how well a model draws what the prompt says.

probe.py               picture -> the scene it shows, read by a small classifier
compare_attributes.py  (scene asked for, scene read) -> share of right attributes
draw_and_read.py       prompts -> pictures -> scenes, in batches
clip_score.py          captions, pictures -> mean cosines of a trained CLIP
frechet.py             two sets of features -> Frechet distance
diversity.py           pictures of one prompt -> how much they differ
evaluate.py            all of the above for one model
settings_rows.py       one row of numbers for each of several settings
sweeps.py              the settings: guidance, steps, samplers
edits.py               negative prompts and image to image
repainting.py          in-painting
dtypes.py              float16 and bfloat16 against float32
convergence.py         samplers against the exact solution; convergence_plot.py plots it
measure.py             runs these parts; results.py stores what each returns
report.py              results -> Markdown, by templates/
card.py                results -> the model card and the page of samplers
"""
