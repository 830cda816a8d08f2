"""The control API: what a test can do with guests, for programs in any language.

Control is one more observer and one more caller of simulations; a served guest is `testing.live`'s.
"""

__all__: list[str] = []
