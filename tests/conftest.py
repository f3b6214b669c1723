"""What every test shares: the number of threads Paddle computes with."""

import os

os.environ["URNET_CACHE"] = ""  # no test writes into a real home
os.environ.setdefault("OMP_NUM_THREADS", "2")  # Paddle's own default of 1 would make the suite slow
