"""PS3.18 without I/O: multipart bodies, media types, query parameters, byte ranges."""
