"""Dead letters: what lies in `dead.letters`, what was done about each, and how it is mended and put back.

Reading is from the topic, acts are in `shared.dead_letter_acts`. Items that a CRM refused are in the sink's tables
(connector/recovery/retry.py): their letters are a record of it, and are not redriven.
"""
