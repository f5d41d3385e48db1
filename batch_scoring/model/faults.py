"""Why a row cannot be scored: a code, a column and a message, which never holds data of the row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from batch_scoring.domain.manifest import SignatureColumn


class ReasonCode(StrEnum):
    """Why a row could not be scored."""

    MISSING_VALUE = "missing_value"
    WRONG_TYPE = "wrong_type"
    NON_FINITE_VALUE = "non_finite_value"
    UNDECODABLE_TEXT = "undecodable_text"
    UNSEEN_CATEGORY = "unseen_category"
    MODEL_ERROR = "model_error"
    MODEL_CRASH = "model_crash"
    NON_FINITE_SCORE = "non_finite_score"
    SCORE_OUT_OF_RANGE = "score_out_of_range"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFault:
    """Why one row cannot be scored: a code, the column where there is one, and a message without data."""

    code: ReasonCode
    column: str | None
    message: str


class Faults:
    """Collects the first fault of each row."""

    def __init__(self) -> None:
        self.by_position: dict[int, RowFault] = {}

    def add(self, positions: Any, column: SignatureColumn, code: ReasonCode) -> None:
        message = _MESSAGES[code].format(type=column.type)
        fault = RowFault(code=code, column=column.name, message=message)
        for position in positions:
            self.by_position.setdefault(int(position), fault)


_MESSAGES = {
    ReasonCode.MISSING_VALUE: "the model needs a value here and the column is NULL",
    ReasonCode.WRONG_TYPE: "the value is not of the type the model takes ({type})",
    ReasonCode.NON_FINITE_VALUE: "the value is infinite or not a number",
    ReasonCode.UNDECODABLE_TEXT: "the text is not valid UTF-8",
    ReasonCode.UNSEEN_CATEGORY: "the model was not trained on this category",
}
