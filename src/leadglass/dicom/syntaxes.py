"""The transfer syntaxes of the standard, and how each encodes a data set (PS3.5 Annex A, PS3.6 Table A-1).

The rows are written by ``tools/generate_sop_classes.py``; a test compares. Private ones come from configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from leadglass.base.ids import UID


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set is encoded.

    Attributes:
        uid: its UID.
        name: as in PS3.6.
        implicit_vr: value representations are not in the data set.
        big_endian: octet order of numbers (retired by the standard, alive in archives).
        encapsulated: Pixel Data is a sequence of fragments (PS3.5 A.4).
        deflated: the whole data set is one raw deflate stream (PS3.5 A.5).
        lossy: the compression may lose information; lossless-only processes are not marked.
        retired: not in the current standard any more; accepted all the same.
        storable: it encodes a data set that can be stored; False for MIME, XML and real-time video.
    """

    uid: UID
    name: str
    implicit_vr: bool = False
    big_endian: bool = False
    encapsulated: bool = False
    deflated: bool = False
    lossy: bool = False
    retired: bool = False
    storable: bool = True


IMPLICIT_VR_LITTLE_ENDIAN: Final = UID("1.2.840.10008.1.2")
EXPLICIT_VR_LITTLE_ENDIAN: Final = UID("1.2.840.10008.1.2.1")
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = UID("1.2.840.10008.1.2.1.99")
EXPLICIT_VR_BIG_ENDIAN: Final = UID("1.2.840.10008.1.2.2")

# fmt: off
_ROWS: Final[tuple[TransferSyntax, ...]] = (
    # Rows below are written by the tool.
    TransferSyntax(UID("1.2.840.10008.1.2"), "Implicit VR Little Endian", implicit_vr=True),
    TransferSyntax(UID("1.2.840.10008.1.2.1"), "Explicit VR Little Endian"),
    TransferSyntax(UID("1.2.840.10008.1.2.1.98"), "Encapsulated Uncompressed Explicit VR Little Endian", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.1.99"), "Deflated Explicit VR Little Endian", deflated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.2"), "Explicit VR Big Endian", big_endian=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.50"), "JPEG Baseline (Process 1)", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.51"), "JPEG Extended (Process 2 and 4)", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.52"), "JPEG Extended (Process 3 and 5)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.53"), "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.54"), "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.55"), "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.56"), "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.57"), "JPEG Lossless, Non-Hierarchical (Process 14)", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.58"), "JPEG Lossless, Non-Hierarchical (Process 15)", encapsulated=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.59"), "JPEG Extended, Hierarchical (Process 16 and 18)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.60"), "JPEG Extended, Hierarchical (Process 17 and 19)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.61"), "JPEG Spectral Selection, Hierarchical (Process 20 and 22)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.62"), "JPEG Spectral Selection, Hierarchical (Process 21 and 23)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.63"), "JPEG Full Progression, Hierarchical (Process 24 and 26)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.64"), "JPEG Full Progression, Hierarchical (Process 25 and 27)", encapsulated=True, lossy=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.65"), "JPEG Lossless, Hierarchical (Process 28)", encapsulated=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.66"), "JPEG Lossless, Hierarchical (Process 29)", encapsulated=True, retired=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.70"), "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.80"), "JPEG-LS Lossless Image Compression", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.81"), "JPEG-LS Lossy (Near-Lossless) Image Compression", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.90"), "JPEG 2000 Image Compression (Lossless Only)", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.91"), "JPEG 2000 Image Compression", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.92"), "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.93"), "JPEG 2000 Part 2 Multi-component Image Compression", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.94"), "JPIP Referenced"),
    TransferSyntax(UID("1.2.840.10008.1.2.4.95"), "JPIP Referenced Deflate", deflated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.100"), "MPEG2 Main Profile / Main Level", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.100.1"), "Fragmentable MPEG2 Main Profile / Main Level", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.101"), "MPEG2 Main Profile / High Level", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.101.1"), "Fragmentable MPEG2 Main Profile / High Level", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.102"), "MPEG-4 AVC/H.264 High Profile / Level 4.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.102.1"), "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.103"), "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.103.1"), "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.104"), "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.104.1"), "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.105"), "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.105.1"), "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.106"), "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.106.1"), "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.107"), "HEVC/H.265 Main Profile / Level 5.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.108"), "HEVC/H.265 Main 10 Profile / Level 5.1", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.110"), "JPEG XL Lossless", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.111"), "JPEG XL JPEG Recompression", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.112"), "JPEG XL", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.201"), "High-Throughput JPEG 2000 Image Compression (Lossless Only)", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.202"), "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.203"), "High-Throughput JPEG 2000 Image Compression", encapsulated=True, lossy=True),
    TransferSyntax(UID("1.2.840.10008.1.2.4.204"), "JPIP HTJ2K Referenced"),
    TransferSyntax(UID("1.2.840.10008.1.2.4.205"), "JPIP HTJ2K Referenced Deflate", deflated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.5"), "RLE Lossless", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.2.6.1"), "RFC 2557 MIME encapsulation", retired=True, storable=False),
    TransferSyntax(UID("1.2.840.10008.1.2.6.2"), "XML Encoding", retired=True, storable=False),
    TransferSyntax(UID("1.2.840.10008.1.2.7.1"), "SMPTE ST 2110-20 Uncompressed Progressive Active Video", storable=False),
    TransferSyntax(UID("1.2.840.10008.1.2.7.2"), "SMPTE ST 2110-20 Uncompressed Interlaced Active Video", storable=False),
    TransferSyntax(UID("1.2.840.10008.1.2.7.3"), "SMPTE ST 2110-30 PCM Digital Audio", storable=False),
    TransferSyntax(UID("1.2.840.10008.1.2.8.1"), "Deflated Image Frame Compression", encapsulated=True),
    TransferSyntax(UID("1.2.840.10008.1.20"), "Papyrus 3 Implicit VR Little Endian", implicit_vr=True, retired=True),
    # Rows above are written by the tool.
)
# fmt: on

TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType({row.uid: row for row in _ROWS})
"""Every transfer syntax of the standard by UID, retired ones included."""

PrivateSyntaxes: TypeAlias = Mapping[str, TransferSyntax]
"""Transfer syntaxes that a site's configuration adds, by UID."""

STORABLE_TRANSFER_SYNTAXES: Final[tuple[UID, ...]] = tuple(row.uid for row in _ROWS if row.storable)
"""What an acceptor of storage takes, as sent."""


def private_transfer_syntax(
    uid: UID, name: str, *, implicit_vr: bool = False, big_endian: bool = False, encapsulated: bool = True
) -> TransferSyntax:
    """Describe a private transfer syntax that the configuration names.

    By default as PS3.5 A.4 prescribes for everything compressed: explicit VR little endian, encapsulated.
    """
    return TransferSyntax(
        uid,
        name,
        implicit_vr=implicit_vr,
        big_endian=big_endian,
        encapsulated=encapsulated,
        lossy=encapsulated,
    )
