from webapp.errors import QuotaExceeded, ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable

# What any view that scores can answer, for the OpenAPI document.
SCORING_ERRORS = (QuotaExceeded, ScoringError, ScoringRefused, ScoringUnavailable, ScoringTimeout)
