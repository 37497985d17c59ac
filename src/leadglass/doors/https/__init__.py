"""What every door over HTTPS stands on: the server, who is asking, limits, and how answers and errors look.

Doors over HTTPS (``doors.dicomweb``, ``doors.console``) give a list of ``Endpoint``; this room serves them, and no
endpoint is reached by anybody who is not signed in unless it says ``public``.
"""
