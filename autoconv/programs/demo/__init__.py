"""`autoconv demo`: a page, served on this machine, on which a net learns.

`serving.Demo` is the server, `learning.Session` the net; `views` and `explain` show it.
"""

PORT = 8765  # here, so that the command line need not import a server to say it
