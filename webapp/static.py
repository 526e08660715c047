from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise ships no types
    """Static files under names with their hash, also where one JavaScript module imports another."""

    support_js_module_import_aggregation = True
