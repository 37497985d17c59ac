"""The DIMSE door: DICOM associations over mutually authenticated TLS, in both roles.

``connection`` drives the state machine of ``wire.ul`` over a TLS socket; ``listener`` accepts connections,
``acceptor`` decides who may associate and for what, and one module a service answers: ``verification_scp``,
``store_scp``, ``find_scp``, ``retrieve_scp``, ``commitment_scp``. ``requestor`` is the other role; ``store_scu``,
``query_scu`` and ``commitment_scu`` stand on it.

**Invariant:** there is no plaintext listener; a socket reaches ``connection`` only after its TLS handshake.
"""
