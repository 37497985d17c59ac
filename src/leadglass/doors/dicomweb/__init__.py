"""DICOMweb: images in and out over HTTPS. Source: PS3.18."""
