"""Who is who: pure rules over aliases and contacts, their store, and the route stage that applies them."""

from __future__ import annotations
