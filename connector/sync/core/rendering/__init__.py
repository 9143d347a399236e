"""How a message reads on a timeline: text first, then a line "—", then the details. Pure, plain text.

One file a family of message types. Whatever arrives is rendered: a part of the wrong shape, a type that Meta
adds next year, a message that nobody has seen and that somebody reacted to.
"""

from connector.sync.core.rendering.activity import DETAILS, FAMILIES, Rendering, render

__all__ = ["DETAILS", "FAMILIES", "Rendering", "render"]
