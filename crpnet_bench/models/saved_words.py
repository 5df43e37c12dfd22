"""What every fitted model that reads no tiles keeps in its checkpoint beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import FittedModel
from crpnet_bench.models.logistic import ScoreLogistic

__all__ = ["restored", "said_by"]


def said_by(model: FittedModel) -> dict[str, Any]:
    """Name, title, notes and left-out patients as JSON values."""
    return {
        "name": model.name,
        "title": model.title,
        "notes": list(model.notes),
        "left_out": dict(model.left_out),
    }


def restored(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's state as arguments of the fitted model, with its link where it has one.

    Raises:
        ModelError: the state is of another program.
    """
    try:
        arguments = {**state, "notes": tuple(state["notes"])}
        if "link" in state:
            arguments["link"] = ScoreLogistic(**state["link"])
        return arguments
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
