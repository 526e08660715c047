from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable

# What any view that scores can answer, for the OpenAPI document.
SCORING_ERRORS = (ScoringError, ScoringRefused, ScoringUnavailable, ScoringTimeout)
