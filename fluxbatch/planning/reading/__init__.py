"""Readers: one for each form of manifest, all giving drafts of jobs with their lines."""
