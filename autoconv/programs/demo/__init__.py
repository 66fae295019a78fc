"""`autoconv demo`: serves a local page on which a net can be watched while it learns.

`serving.Demo` is the server. `learning.Session` trains the net. `views` and `explain` show the net.
"""

PORT = 8765  # defined here so that --help need not import the server
