"""What each person allows: a ledger of acts, folded into a standing per purpose; keywords; what becomes an act."""
