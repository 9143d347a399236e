"""From a trigger to a message that may really be sent: the pure core, and what carries it out.

Pure, no I/O: `templates` (what Meta approved, and whether a send fills it in), `personalisation` (parameters from
CRM properties, language), `consent` (the ledger), `policies` and `gate` (may it be sent, and if not, why), `pacing`
(when it may leave). Everything that is judged comes in as `facts.Facts`; time comes in as `now`.
"""
