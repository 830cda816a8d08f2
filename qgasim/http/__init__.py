"""HTTP/1.1 on trio: connections, routes and problems. Knows no guest.

h11 reads and writes the bytes. A route is an annotated function, as a command of the agent is; the
OpenAPI document is made of the routes.
"""

__all__: list[str] = []
