"""Decisions, as plain functions of state and time: no I/O, no clock, no loop."""
