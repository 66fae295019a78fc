"""`autoconv demo`: a page, served on this machine, where one watches a net learn.

`serving.Demo` is the server, `session.Session` the net that learns; `views` and `explain` say what can be seen of it.
"""

PORT = 8765  # here, so that the command line need not import a server to say it
