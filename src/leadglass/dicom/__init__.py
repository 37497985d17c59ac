"""What a data set means: its structure, its attributes, its queries.

``scan`` walks a data set as it streams past, ``head`` keeps what the index needs of it, ``query`` parses, matches and
answers identifiers, ``part10`` reads and writes what stands before a data set, ``transcode`` decodes.

**Invariant:** pure: no socket, no file, no clock. The only room that imports pydicom.
"""
