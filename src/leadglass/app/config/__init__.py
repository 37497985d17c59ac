"""What a site is configured with: one file, typed, unknown keys are errors. Secrets are never in it."""

from leadglass.app.config.settings import (
    DimseSettings,
    IndexSettings,
    KeySettings,
    Settings,
    SiteSettings,
    load_settings,
)

__all__ = ["DimseSettings", "IndexSettings", "KeySettings", "Settings", "SiteSettings", "load_settings"]
