"""How many examples hypothesis tries: the same few in the suite, as many new ones as one likes with another profile."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite", max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "long",
    max_examples=int(os.environ.get("URNET_EXAMPLES", "20000")),
    deadline=5000,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("suite")
