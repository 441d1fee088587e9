"""What becomes of instants that nobody could fire in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jobsched.domain.fieldtypes import PositiveDuration, Strict

CatchUpPolicy = Literal["none", "latest", "all"]


class CatchUp(Strict):
    """Which of the instants that passed while nobody could fire are made up for."""

    policy: CatchUpPolicy = "latest"
    """Of the instants that were missed: none, the latest one, or all of them."""
    window: PositiveDuration = timedelta(days=1)
    """Instants longer ago than this are never made up for."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Of all of them, at most so many, the latest."""

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_policy(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value
