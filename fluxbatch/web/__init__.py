"""Pages for a browser, served on this machine: a token, a checked Host, live by server-sent events.

It knows nothing of runs and reports: the app hands it what it serves (``Shelf``, ``Door``).
"""
