"""The few well-known UIDs that the message exchange itself needs. Source: PS3.6 Annex A."""

from typing import Final

from leadglass.base.ids import UID

VERIFICATION_SOP_CLASS: Final = UID("1.2.840.10008.1.1")
STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS: Final = UID("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE: Final = UID("1.2.840.10008.1.20.1.1")
IMPLICIT_VR_LITTLE_ENDIAN: Final = UID("1.2.840.10008.1.2")
"""Transfer syntax of every command set, and the default of every data set. Source: PS3.7 6.3.1, PS3.5 10.1."""
