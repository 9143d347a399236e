"""Reconciliation: does a CRM say what the log and our tables say it should, item by item; and mending what does not.

A plan of a replay (recovery/replay/) finds what is missing and what differs, and applying it mends that. Nothing is
ever sent, and nothing is deleted that somebody else may have worked on.
"""
