"""Catalogues: a table times a matrix makes jobs."""
