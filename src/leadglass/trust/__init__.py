"""Who (``identity``), may they (``policy``), under which key (``keys``, ``certs``), and who saw it (``audit``).

Inside, imports go down: ``certs > keys > (audit | policy) > identity``.
"""
