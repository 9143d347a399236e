"""Replays: read the log again, say what would change in a CRM, and have exactly that written. Nothing is ever sent.

A plan (planning.py) is a list of items with a hash; applying it (applying.py) puts those items ahead of what was
written, and the sink's own writer does the rest. docs/decisions/a-replay-only-puts-items-ahead.md says why.
"""
