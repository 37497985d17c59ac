"""The upper layer protocol of DICOM, PS3.8: associations over a byte stream.

``Association`` is the machine of both roles. It is handed octets and primitives, and gives back a list of outputs: what
the driver must do (``Send``, ``StartArtim``, ``StopArtim``, ``OpenConnection``, ``CloseConnection``) and what happened
(``AssociateRequested``, ``DataFragment``, ...), in order. Octets give an iterator that works out one output at a time, so
that the machine's state is what the driver has seen: take it to its end, and perform each output before the next.

An acceptor's loop::

    association = Association()
    perform(association.transport_connected())                  # StartArtim
    while not association.closed:
        n = connection.recv_into(association.get_buffer())      # may be called again on buffer[n:], up to its end
        for output in association.buffer_updated(n) if n else association.connection_lost():
            match output:
                case DataFragment():                            # the hot path first
                    for event in assembler.receive(output): ... # wire.dimse; its memory lives until get_buffer
                case Send(data): connection.sendall(data)
                case StartArtim(): deadline = clock.monotonic() + ARTIM_SECONDS
                case StopArtim(): deadline = None
                case CloseConnection(): connection.close()
                case AssociateRequested(rq):                    # first refusal(rq), identity and policy: reject(...)
                    perform(association.accept(negotiate(rq, supported, local=...)))
                case ReleaseRequested(): perform(association.respond_release())
                case ProtocolViolation(error): ...              # for the record; the A-ABORT follows in the list
                case Aborted(): ...

When the deadline passes: ``perform(association.artim_expired())``. A message goes out as
``b"".join(association.data(context_id, is_command=True, payload=encode(message)))``, or its buffers one by one. When
``wire.dimse`` raises ``RemoteProtocolError``: ``perform(association.abort())``.

A requestor: ``perform(association.request(rq))`` gives ``OpenConnection``; connect, then
``perform(association.transport_connected())`` sends the A-ASSOCIATE-RQ; ``AssociateAccepted`` carries the accepted
contexts, checked against the request. At the end ``perform(association.release())`` and wait for
``ReleaseConfirmed``, which ``CloseConnection`` follows.

Octets of the peer never raise: a broken rule becomes ``ProtocolViolation`` and the actions of Table 9-10. A primitive
that does not fit the state raises ``LocalProtocolError`` and changes nothing.

A TLS record holds at most 16 KiB: fill more of the buffer before ``buffer_updated`` where octets are waiting already.

**Invariant:** memory is constant in established associations: fragments are given out of the receive buffer as their
octets arrive, whatever the peer says about lengths.
"""
