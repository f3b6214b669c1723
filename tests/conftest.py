"""What every test shares: one processor thread for Paddle, no display, and small real images."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")  # Paddle's own default of 1 would make the suite slow
