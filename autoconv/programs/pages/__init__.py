"""Self-contained HTML pages: documents, cards, tables, SVG charts, pictures; no script."""
