"""For all tests: property tests are never timed (a busy machine is no failure)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "storeroom", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("storeroom")
