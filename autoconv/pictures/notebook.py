"""Figures for notebooks. `figures` imports this module only to draw, as it needs matplotlib."""

import io

from matplotlib import figure


class Figure(figure.Figure):
    """A matplotlib figure that a notebook displays as a cell's last value, without pyplot."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png")
        return data.getvalue()
