"""Score database rows on a schedule with a persisted scikit-learn model.

The package is used from the command line (``batch-scoring --help``); the functions that the commands call are in
:mod:`batch_scoring.scoring`. Importing the package imports nothing else: settings, engines and scikit-learn
are touched only by the code that needs them.
"""

__version__ = "0.1.0"
