"""Figures for notebooks. This module needs matplotlib, so `figures` imports it only to draw."""

import io

from matplotlib import figure


class Figure(figure.Figure):
    """A matplotlib figure that a notebook shows as the last line of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png")
        return data.getvalue()
