"""Figures that a notebook shows. Needs matplotlib: `figures` imports this file when it draws."""

import io

from matplotlib import figure


class Figure(figure.Figure):
    """A figure of matplotlib's that a notebook shows as the last line of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png")
        return data.getvalue()
