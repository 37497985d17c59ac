"""From stored pixels to an image that anybody can look at (PS3.3 C.7.6.3, C.11; PS3.18 8.3.5).

``models`` is what is asked for, and may be imported anywhere; everything else reads what strangers sent and belongs into
the process of ``dicom.transcode_main``.
"""
