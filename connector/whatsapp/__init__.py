"""Meta's dialect, read leniently and without I/O.

Everything that comes from WhatsApp is untrusted text of any shape: a key may be missing, empty, of another
type, or new. Nothing in here raises for what Meta (or a person) sent; what is not understood is kept.
"""

from __future__ import annotations
