from django.contrib.staticfiles.storage import HashedFilesMixin
from whitenoise.storage import CompressedManifestStaticFilesStorage

_IMPORTS = HashedFilesMixin._js_module_import_aggregation_patterns[1]  # type: ignore[attr-defined]  # the stubs lack it


class HashedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise ships no types
    """Static files under names with their hash, also where one of our JavaScript modules imports another.

    Only ours, named as they lie in frontend/js: libraries ship scripts whose comments look like imports of files
    they do not ship, so `support_js_module_import_aggregation`, which is for all, stays off.
    """

    patterns = (
        *HashedFilesMixin.patterns,
        *((path, _IMPORTS) for path in ("main.js", "modules/*.js", "lib/*.js")),
    )
