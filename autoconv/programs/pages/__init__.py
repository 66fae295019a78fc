"""Self-contained HTML pages: a document with its style, cards and tables, SVG charts, pictures within the page.

Nothing here knows what is shown. No script, and nothing from the network.
"""
