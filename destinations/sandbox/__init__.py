"""A local server that plays any HTTP destination of the catalog from its spec alone.

``http://127.0.0.1:8321/<destination id>/<the vendor's path>`` takes the requests that the
vendor would take, refuses what the vendor would refuse, keeps members as the vendor would,
and can be told to fail. It listens on loopback only and asks for no real secret.
"""

from destinations.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
