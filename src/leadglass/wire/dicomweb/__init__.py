"""DICOM Web Services without I/O: media types, multipart bodies, byte ranges, parameters of a search.

Source: PS3.18.
"""
