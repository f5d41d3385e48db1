"""Files that people bring: one reader for ``load``, ``train`` and ``model register``.

The same file has the same columns, types and missing values for all three, so that a model trained on a file fits the
table that was loaded from it. What is read how is described in ``docs/files.md``.
"""
