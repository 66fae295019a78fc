"""Builds self-contained HTML pages without scripts: cards, tables, SVG charts and pictures."""
