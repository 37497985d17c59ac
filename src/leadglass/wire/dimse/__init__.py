"""The message exchange of DICOM, PS3.7: commands and data sets over presentation contexts.

Receiving: ``MessageAssembler.receive(fragment)`` turns fragments into ``CommandReceived``, ``DatasetChunk`` and
``DatasetEnd``. Sending: ``encode(message)`` is the payload of ``Association.data(..., is_command=True)``; the octets of a
data set follow with ``is_command=False``.

**Invariant:** a data set is passed through piece by piece, never joined and never looked into.
"""
