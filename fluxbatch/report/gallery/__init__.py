"""The gallery: a static page of a folder's jobs, for a browser without a server."""
