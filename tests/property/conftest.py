"""How hypothesis runs here: a new seed each time, printed when a test fails."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "mesh",
    max_examples=60,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the test
)
settings.load_profile("mesh")
