"""The tables of the role `outbound`, one family a file, set-wise, each in a transaction of the caller's.

Order of locks, everywhere: people by contact id, then sends by send id, then everything else by its key.
"""

SCHEMA = "outbound"
