"""The reweightings: pure functions of arrays, without Paddle, files or global state."""
