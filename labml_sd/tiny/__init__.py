r"""The drawn world of the tiny model, and the recipe that trains the model on it.

scenes.py          (seed, index) -> Scene -> English caption
objects.py         SceneObject -> shapes on a canvas
drawing.py         Scene -> RGB picture
hard_negatives.py  Scene -> scenes that differ in one attribute
neighbours.py      Scene -> the possible scenes one change away
recipe.py          every number of a training run
"""
