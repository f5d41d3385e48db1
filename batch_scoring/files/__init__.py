"""Data files of users: one reader for ``load``, ``train`` and ``model register``.

All three read the same columns, types and missing values from a file, so that a model that is trained on a file fits
the table that was loaded from it. ``docs/files.md`` describes the rules.
"""
