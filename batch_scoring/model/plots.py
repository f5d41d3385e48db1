"""Plots of a trained model, as SVG without references to other files. Needs the extra ``plots``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from batch_scoring.domain.manifest import HeldOut
from batch_scoring.errors import ExtraMissing
from batch_scoring.model.evaluation import OutOfFold

_BINS = 10


def plots(held_out: HeldOut, out_of_fold: OutOfFold) -> dict[str, str]:
    """The confusion matrix, and for two labels the ROC curve and the calibration, by name. Raises ExtraMissing."""
    if find_spec("matplotlib") is None:
        raise ExtraMissing.of("plots", "plots need")
    found = {"confusion matrix": _confusion_matrix(held_out)}
    if len(out_of_fold.classes) == 2:
        found |= {"ROC curve": _roc_curve(out_of_fold), "calibration": _calibration(out_of_fold)}
    return found


@contextmanager
def _figure() -> Iterator[tuple[Any, list[str]]]:
    """Axes, and a list that gets the SVG when the block ends. No state of matplotlib's own is used."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "batch_scoring", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(4.8, 4.2), layout="constrained")
        drawn: list[str] = []
        yield figure.add_subplot(), drawn
        buffer = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        drawn.append(text[text.index("<svg") :])


def _confusion_matrix(held_out: HeldOut) -> str:
    counts = np.array(held_out.confusion_matrix)
    with _figure() as (axes, drawn):
        axes.imshow(counts, cmap="Blues")
        axes.set(
            xticks=range(len(held_out.labels)),
            yticks=range(len(held_out.labels)),
            xticklabels=held_out.labels,
            yticklabels=held_out.labels,
            xlabel="predicted",
            ylabel="actual",
            title=f"{held_out.rows:,} held-out rows",
        )
        for (row, column), count in np.ndenumerate(counts):
            is_dark = count > counts.max() / 2
            axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if is_dark else "black")
    return drawn[0]


def _roc_curve(out_of_fold: OutOfFold) -> str:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(out_of_fold.is_positive, out_of_fold.scores)
    with _figure() as (axes, drawn):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
        axes.plot(false, true, label=f"out of fold, {len(out_of_fold.scores):,} rows")
        axes.set(
            xlabel="false positive rate",
            ylabel="true positive rate",
            title=f"ROC curve, positive label {out_of_fold.classes[1]}",
        )
        axes.legend(loc="lower right")
    return drawn[0]


def _calibration(out_of_fold: OutOfFold) -> str:
    from sklearn.calibration import calibration_curve

    observed, predicted = calibration_curve(
        out_of_fold.is_positive, out_of_fold.scores, n_bins=_BINS, strategy="quantile"
    )
    with _figure() as (axes, drawn):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect")
        axes.plot(predicted, observed, marker="o", label="out of fold, tenths of the rows")
        axes.set(xlabel="mean score", ylabel="observed share", title="calibration", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
    return drawn[0]
