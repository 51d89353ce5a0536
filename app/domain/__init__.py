"""Decisions as pure functions of contract values: no clock, no database, no network."""
