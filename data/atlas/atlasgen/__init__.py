"""The generator of the atlas data set: sources, curation, facts, prose, questions, splits.

Invariant: a function of the pinned source packages alone. No clock, no random generator, no
iteration over sets: the same archives give the same bytes.
"""
